"""The error that quantization makes in a linear layer's output."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.qparams import fake_quantize, qparams


def activation_error(
    rows: NDArray[np.float32],
    weight: NDArray[np.float32],
    exact: NDArray[np.float32],
    bounds: tuple[float, float],
    *,
    symmetric: bool,
) -> float:
    """`mean((Q(x) W - y)^2)`, 8-bit.

    Args:
        rows: x, [n, in].
        weight: W, [in, out].
        exact: y, [n, out].
        bounds: the range that x is quantized over.
        symmetric: whether that range is widened to (-a, a).
    """
    params = qparams(min(bounds[0], 0.0), max(bounds[1], 0.0), 8, False, symmetric)
    seen = fake_quantize(rows, params, bits=8, signed=False)
    return float(np.mean((seen @ weight - exact) ** 2, dtype=np.float64))
