"""The bytes of an ONNX model, made a tensor at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

_DELIMITED: Final = 2


def encoded(model: Any) -> bytes:
    """What `SerializeToString(deterministic=True)` gives, without seconds in one call.

    protobuf keeps Python's lock for as long as a call takes, and Ctrl-C waits for it.

    Args:
        model: an `onnx.ModelProto`; its weights are taken out.
    """
    graph = model.graph
    tensors = [each.SerializeToString(deterministic=True) for each in graph.initializer]
    graph.ClearField("initializer")
    return b"".join(_with(model, "graph", [_with(graph, "initializer", [[each] for each in tensors])]))


def _with(message: Any, field: str, values: Sequence[Sequence[bytes]]) -> list[bytes]:
    """Pieces of a message with other values of one field; protobuf writes fields in their numbers' order."""
    fields = message.DESCRIPTOR.fields
    number = message.DESCRIPTOR.fields_by_name[field].number
    before, after = type(message)(), type(message)()
    for copy in (before, after):
        copy.CopyFrom(message)
    for each in fields:
        if each.number >= number:
            before.ClearField(each.name)
        if each.number <= number:
            after.ClearField(each.name)
    pieces = [before.SerializeToString(deterministic=True)]
    for value in values:
        pieces += [_varint(number << 3 | _DELIMITED), _varint(sum(map(len, value))), *value]
    return [*pieces, after.SerializeToString(deterministic=True)]


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])
