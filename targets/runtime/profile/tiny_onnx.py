"""An ONNX model of one INT8 product, written byte by byte: the device has no package that writes them.

Field numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, and the encoding is
that of https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_IR_VERSION: Final = 8
_OPSET: Final = 13
_UINT8: Final = 2
_INT8: Final = 3
_INT32: Final = 6


def int8_product(rows: int, weight: NDArray[np.int8]) -> bytes:
    """MatMulInteger of `input`, U8 [rows, in], by a constant S8 weight [in, out]; `output` is INT32."""
    inputs, outputs = weight.shape
    node = b"".join(
        [
            _text(1, "input"),
            _text(1, "weight"),
            _text(2, "output"),
            _text(3, "product"),
            _text(4, "MatMulInteger"),
        ]
    )
    tensor = b"".join(
        [
            *(_number(1, size) for size in weight.shape),
            _number(2, _INT8),
            _text(8, "weight"),
            _bytes(9, np.ascontiguousarray(weight).tobytes()),
        ]
    )
    graph = b"".join(
        [
            _bytes(1, node),
            _text(2, "product"),
            _bytes(5, tensor),
            _bytes(11, _value("input", _UINT8, (rows, inputs))),
            _bytes(12, _value("output", _INT32, (rows, outputs))),
        ]
    )
    return _number(1, _IR_VERSION) + _bytes(7, graph) + _bytes(8, _text(1, "") + _number(2, _OPSET))


def _value(name: str, kind: int, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_bytes(1, _number(1, size)) for size in shape)
    tensor = _number(1, kind) + _bytes(2, dims)
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
