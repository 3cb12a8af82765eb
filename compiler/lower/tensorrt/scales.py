"""Scales in the float type of a strongly typed graph."""

from __future__ import annotations

from typing import Any, Final

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.quantize.plan import QWeight

_NUMPY: Final[dict[ir.DataType, Any]] = {
    ir.DataType.FLOAT: np.float32,
    ir.DataType.FLOAT16: np.float16,
    ir.DataType.BFLOAT16: ml_dtypes.bfloat16,
}
_SMALLEST: Final = {
    ir.DataType.FLOAT: np.float32(2.0**-149),
    ir.DataType.FLOAT16: np.float32(2.0**-24),
    ir.DataType.BFLOAT16: np.float32(2.0**-133),
}
_QMAX: Final = 127


def numpy_type(compute: ir.DataType) -> Any:
    """The numpy type of FLOAT, FLOAT16 or BFLOAT16."""
    return _NUMPY[compute]


def storable(scale: NDArray[np.float32] | np.float32, compute: ir.DataType) -> NDArray[np.float32]:
    """The nearest scales that a float type holds, none of them zero, as float32.

    FP16 rounds to 11 bits down to 6.1e-5 and in steps of 6e-8 below; BF16 to 8 bits.
    """
    kind = _NUMPY[compute]
    stored = np.asarray(np.asarray(scale).astype(kind).astype(np.float32))
    return np.maximum(stored, _SMALLEST[compute])


def storable_weight(weight: QWeight, compute: ir.DataType) -> QWeight:
    """A weight whose scales a float type holds, its integers moved where a scale had to move far.

    Where the scale changes by less than 1/254 the integers stay, which is every column in FP16 but those
    of very small weights. FP8 values are floating point themselves and stay.
    """
    scale = storable(weight.scale, compute)
    if weight.values.dtype != np.int8:
        return QWeight(weight.values, scale, weight.axis)
    shape = (1, -1) if weight.axis == 1 else (-1, 1)
    ratio = (weight.scale / scale).reshape(shape)
    values = np.clip(np.rint(weight.values * ratio), -_QMAX, _QMAX).astype(np.int8)
    return QWeight(values, scale, weight.axis)
