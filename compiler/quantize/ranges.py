"""The range of each activation, by the error of the layer that reads it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.observers import RangeObserver
from calibration.qparams import qparams
from calibration.ranges import METHODS, choose_range
from compiler.quantize.error import activation_error
from compiler.quantize.options import AUTO_RANGES
from compiler.quantize.plan import QParam


def input_param(
    observer: RangeObserver,
    rows: NDArray[np.float32],
    weight: NDArray[np.float32],
    *,
    method: str,
    symmetric: bool,
    signed: bool,
) -> QParam:
    """Parameters for the input of linear layers.

    Args:
        observer: what was seen of it.
        rows: some of it, [n, in].
        weight: of all layers that read it, [in, out].
        method: one of `calibration.ranges.METHODS`, or "auto": the one whose range gives the
            layers' output the least squared error on the rows.
        symmetric: whether the range is (-a, a).
        signed: storage type.
    """
    chosen = method
    if method == AUTO_RANGES:
        chosen = _least_error(observer, rows, weight, symmetric=symmetric, signed=signed)
    low, high = choose_range(observer, chosen, symmetric=symmetric, signed=signed)
    return param(low, high, source=chosen, symmetric=symmetric, signed=signed)


def param(low: float, high: float, *, source: str, symmetric: bool, signed: bool) -> QParam:
    """Parameters for a range."""
    found = qparams(low, high, 8, signed, symmetric)
    return QParam(float(found.scale), int(found.zero_point), signed, symmetric, source)


def _least_error(
    observer: RangeObserver,
    rows: NDArray[np.float32],
    weight: NDArray[np.float32],
    *,
    symmetric: bool,
    signed: bool,
) -> str:
    exact = rows @ weight
    errors = {}
    for method in METHODS:
        bounds = choose_range(observer, method, symmetric=symmetric, signed=signed)
        errors[method] = activation_error(rows, weight, exact, bounds, symmetric=symmetric)
    return min(METHODS, key=lambda each: errors[each])
