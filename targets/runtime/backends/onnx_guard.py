"""Checks that an ONNX file reaches for nothing outside its own bytes.

onnxruntime opens the files that a tensor's `external_data` names, and loads operators of any domain that is
registered. Both are refused before the bytes reach it. The check walks the protobuf wire format
(https://protobuf.dev/programming-guides/encoding/) over `onnx.proto`'s field numbers, so that a device
needs no `onnx` package; tensor payloads are skipped, not copied.
"""

from __future__ import annotations

from collections.abc import Iterator

from targets.errors import IntegrityError, UnsupportedError

ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})

_MAX_DEPTH = 8

_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTION = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_ATTRIBUTE, _NODE_DOMAIN = 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = (5, 10), (6, 11)
_ATTRIBUTE_SPARSE = (22, 23)
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_self_contained(model: bytes) -> None:
    """Refuses external tensor data, foreign operator domains, model functions and sparse tensors.

    Args:
        model: the bytes of a serialized `ModelProto`.

    Raises:
        UnsupportedError: the model has one of those.
        IntegrityError: the bytes are not a well-formed message.
    """
    has_graph = False
    for field, value in _fields(memoryview(model)):
        if field == _MODEL_GRAPH:
            has_graph = True
            _check_graph(_message(value), 0)
        elif field in (_MODEL_FUNCTION, _MODEL_TRAINING):
            raise _refused("functions or training information")
    if not has_graph:
        raise _malformed("it has no graph")


def _check_graph(graph: memoryview, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise _malformed("its graphs are nested too deep")
    for field, value in _fields(graph):
        if field == _GRAPH_NODE:
            _check_node(_message(value), depth)
        elif field == _GRAPH_INITIALIZER:
            _check_tensor(_message(value))
        elif field == _GRAPH_SPARSE:
            raise _refused("sparse tensors")


def _check_node(node: memoryview, depth: int) -> None:
    for field, value in _fields(node):
        if field == _NODE_DOMAIN:
            _check_domain(_message(value))
        elif field == _NODE_ATTRIBUTE:
            for inner, item in _fields(_message(value)):
                if inner in _ATTRIBUTE_TENSORS:
                    _check_tensor(_message(item))
                elif inner in _ATTRIBUTE_GRAPHS:
                    _check_graph(_message(item), depth + 1)
                elif inner in _ATTRIBUTE_SPARSE:
                    raise _refused("sparse tensors")


def _check_tensor(tensor: memoryview) -> None:
    for field, value in _fields(tensor):
        if field == _TENSOR_EXTERNAL or (field == _TENSOR_LOCATION and value != 0):
            raise _refused("weights in another file")


def _check_domain(name: memoryview) -> None:
    domain = bytes(name[:200]).decode("utf-8", "replace")
    if domain not in ALLOWED_DOMAINS:
        raise _refused(f"operators of the domain {domain!r}")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields (field number, value) of a message; fixed-width values are skipped."""
    position, end = 0, len(data)
    while position < end:
        key, position = _varint(data, position)
        field, wire = key >> 3, key & 7
        if wire == _BYTES:
            size, position = _varint(data, position)
            if size > end - position:
                raise _malformed("it is truncated")
            yield field, data[position : position + size]
            position += size
        elif wire == _VARINT:
            value, position = _varint(data, position)
            yield field, value
        elif wire in (_FIXED64, _FIXED32):
            position += 8 if wire == _FIXED64 else 4
            if position > end:
                raise _malformed("it is truncated")
        else:
            raise _malformed(f"it uses the wire type {wire}")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise _malformed("it is truncated")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _malformed("a number in it is too long")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _malformed("a field has the wrong type")
    return value


def _refused(what: str) -> UnsupportedError:
    return UnsupportedError(f"the ONNX model has {what}", "compile the bundle again from its checkpoint")


def _malformed(what: str) -> IntegrityError:
    return IntegrityError(
        f"the ONNX model is malformed: {what}", "copy the bundle again from where it was built"
    )
