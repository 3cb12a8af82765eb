"""Scale and zero point of uniform quantization, and the rounding of ONNX's QuantizeLinear."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from targets.errors import InternalError

_SMALLEST_SCALE: Final = float(np.finfo(np.float32).tiny)


class QuantParams(NamedTuple):
    """``real = scale * (integer - zero_point)``."""

    scale: np.float32
    zero_point: int


def integer_bounds(bits: int, signed: bool) -> tuple[int, int]:
    """Smallest and largest integer of a storage type, for example (-128, 127).

    Raises:
        InternalError: bits outside 2 to 16.
    """
    if not 2 <= bits <= 16:
        raise InternalError(f"{bits} bits cannot be quantized to", "use 2 to 16")
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


def qparams(
    low: float, high: float, bits: int = 8, signed: bool = True, symmetric: bool = True
) -> QuantParams:
    """Quantization parameters for the range [low, high], widened to hold zero.

    Symmetric: ``scale = max(|low|, |high|) / (2**(bits-1) - 1)`` with the zero point in the middle of
    the type (0 for S8, 128 for U8: the same numbers in two encodings). Asymmetric:
    ``scale = (high - low) / (2**bits - 1)`` and zero exactly representable by rounding the zero point
    (Jacob et al. 2018, section 3), which moves the representable range by at most half a step.
    An empty range gives scale 1.

    Raises:
        InternalError: a bound that is not finite, or low above high.
    """
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        raise InternalError(f"[{low}, {high}] is not a range", "report this with the model and data")
    low, high = min(low, 0.0), max(high, 0.0)
    qmin, qmax = integer_bounds(bits, signed)
    middle = qmin + (1 << (bits - 1))
    span, steps = (max(-low, high), (1 << (bits - 1)) - 1) if symmetric else (high - low, qmax - qmin)
    if span == 0.0:
        return QuantParams(np.float32(1.0), middle if symmetric else qmin)
    scale = np.float32(max(span / steps, _SMALLEST_SCALE))
    if symmetric:
        return QuantParams(scale, middle)
    return QuantParams(scale, int(np.clip(np.rint(qmin - low / float(scale)), qmin, qmax)))


def representable(params: QuantParams, bits: int, signed: bool) -> tuple[float, float]:
    """The smallest and largest real number that the parameters can represent."""
    qmin, qmax = integer_bounds(bits, signed)
    scale = float(params.scale)
    return scale * (qmin - params.zero_point), scale * (qmax - params.zero_point)


def quantize(
    x: NDArray[np.float32], params: QuantParams, *, bits: int = 8, signed: bool = True
) -> NDArray[Any]:
    """Round half to even and saturate, in float32 as the runtimes do.

    Args:
        x: any shape.
        params: scale and zero point.
        bits: 2 to 16.
        signed: storage type.

    Returns:
        Integers of x's shape: 8-bit types up to 8 bits, else 16-bit types.
    """
    qmin, qmax = integer_bounds(bits, signed)
    width = 8 if bits <= 8 else 16
    with np.errstate(over="ignore"):
        steps = np.rint(np.asarray(x, dtype=np.float32) / params.scale)
    clipped: NDArray[Any] = np.clip(steps + np.float32(params.zero_point), qmin, qmax)
    return clipped.astype(f"{'int' if signed else 'uint'}{width}")


def dequantize(q: NDArray[Any], params: QuantParams) -> NDArray[np.float32]:
    """``scale * (q - zero_point)`` in float32, of q's shape."""
    steps = q.astype(np.int32) - np.int32(params.zero_point)
    return np.asarray(steps.astype(np.float32) * params.scale, dtype=np.float32)


def fake_quantize(
    x: NDArray[np.float32], params: QuantParams, *, bits: int = 8, signed: bool = True
) -> NDArray[np.float32]:
    """Quantize and come back: the float32 values that an integer kernel sees."""
    return dequantize(quantize(x, params, bits=bits, signed=signed), params)
