"""Checks that an ONNX file reaches for nothing outside its own bytes.

onnxruntime opens the files that a tensor's `external_data` names, and loads operators of any domain that is
registered. Both are refused before the bytes reach it. The check walks the protobuf wire format
(https://protobuf.dev/programming-guides/encoding/) over `onnx.proto`'s field numbers, so that a device
needs no `onnx` package; tensor payloads are skipped, not copied. What another reader could see otherwise,
such as tags of more than 32 bits, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator

from targets.errors import IntegrityError, UnsupportedError

ALLOWED_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})

_MAX_DEPTH = 8
_MAX_FIELDS = 1_000_000
_MAX_TAG = (1 << 32) - 1
# onnxruntime takes bytes with its own format's mark here for that format, whatever is before it.
_ORT_MARK, _ORT_PLACE = b"ORTM", slice(4, 8)

_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTION = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_ATTRIBUTE, _NODE_DOMAIN = 5, 7
_ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = (5, 10), (6, 11)
_ATTRIBUTE_SPARSE = (22, 23)
_TENSOR_DIMS, _TENSOR_EXTERNAL, _TENSOR_LOCATION = 1, 13, 14
_TENSOR_DATA = frozenset({4, 5, 6, 7, 9, 10, 11})
_PER_BYTE = 4  # the most elements of a byte: those of 2 bits

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_self_contained(model: bytes) -> None:
    """Refuses external tensor data, foreign operator domains, model functions and sparse tensors.

    Args:
        model: the bytes of a serialized `ModelProto`.

    Raises:
        UnsupportedError: the model has one of those.
        IntegrityError: the bytes are not a well-formed message, or a tensor has less data than it must.
    """
    if model[_ORT_PLACE] == _ORT_MARK:
        raise _malformed("it is in onnxruntime's own format")
    _Check().model(memoryview(model))


class _Check:
    """One pass over a model; the fields are counted, so that many empty ones do not take long."""

    def __init__(self) -> None:
        self._left = _MAX_FIELDS

    def model(self, model: memoryview) -> None:
        has_graph = False
        for field, value in self._fields(model):
            if field == _MODEL_GRAPH:
                has_graph = True
                self._graph(_message(value), 0)
            elif field in (_MODEL_FUNCTION, _MODEL_TRAINING):
                raise _refused("functions or training information")
        if not has_graph:
            raise _malformed("it has no graph")

    def _graph(self, graph: memoryview, depth: int) -> None:
        if depth > _MAX_DEPTH:
            raise _malformed("its graphs are nested too deep")
        for field, value in self._fields(graph):
            if field == _GRAPH_NODE:
                self._node(_message(value), depth)
            elif field == _GRAPH_INITIALIZER:
                self._tensor(_message(value))
            elif field == _GRAPH_SPARSE:
                raise _refused("sparse tensors")

    def _node(self, node: memoryview, depth: int) -> None:
        for field, value in self._fields(node):
            if field == _NODE_DOMAIN:
                _check_domain(_message(value))
            elif field == _NODE_ATTRIBUTE:
                for inner, item in self._fields(_message(value)):
                    if inner in _ATTRIBUTE_TENSORS:
                        self._tensor(_message(item))
                    elif inner in _ATTRIBUTE_GRAPHS:
                        self._graph(_message(item), depth + 1)
                    elif inner in _ATTRIBUTE_SPARSE:
                        raise _refused("sparse tensors")

    def _tensor(self, tensor: memoryview) -> None:
        elements, data = 1, 0
        for field, value in self._fields(tensor):
            if field == _TENSOR_EXTERNAL or (field == _TENSOR_LOCATION and value != 0):
                raise _refused("weights in another file")
            if field == _TENSOR_DIMS:
                for length in self._numbers(value):
                    elements *= length
            elif field in _TENSOR_DATA:
                data += 1 if isinstance(value, int) else len(value) or 1
        if elements > data * _PER_BYTE:
            raise _malformed("a tensor has less data than its shape says")

    def _numbers(self, value: int | memoryview) -> Iterator[int]:
        """A repeated number, packed or not; one below 0 is one beyond 2**63 here."""
        if isinstance(value, int):
            yield value
            return
        position = 0
        while position < len(value):
            self._count()
            number, position = _varint(value, position)
            yield number

    def _fields(self, data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
        """Yields (field number, value) of a message; of numbers of fixed width their bytes."""
        position, end = 0, len(data)
        while position < end:
            self._count()
            key, position = _varint(data, position)
            field, wire = key >> 3, key & 7
            if not 0 < field <= _MAX_TAG >> 3:
                raise _malformed(f"it has a field of the number {field}")
            if wire == _VARINT:
                value, position = _varint(data, position)
                yield field, value
                continue
            if wire == _BYTES:
                size, position = _varint(data, position)
            elif wire in (_FIXED64, _FIXED32):
                size = 8 if wire == _FIXED64 else 4
            else:
                raise _malformed(f"it uses the wire type {wire}")
            if size > end - position:
                raise _malformed("it is truncated")
            yield field, data[position : position + size]
            position += size

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise _malformed(f"it has more than {_MAX_FIELDS} parts")


def _check_domain(name: memoryview) -> None:
    domain = bytes(name[:200]).decode("utf-8", "replace")
    if domain not in ALLOWED_DOMAINS:
        raise _refused(f"operators of the domain {domain!r}")


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
