"""The range of each activation, by the error of the layer that reads it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.observers import RangeObserver
from calibration.qparams import qparams
from calibration.ranges import METHODS, choose_range
from compiler.quantize.error import activation_error
from compiler.quantize.plan import QParam


def best_method(
    observer: RangeObserver,
    rows: NDArray[np.float32],
    weight: NDArray[np.float32],
    *,
    symmetric: bool,
    signed: bool,
) -> str:
    """The method of `calibration.ranges.METHODS` whose range costs the layers' output least.

    Args:
        observer: what was seen of their input.
        rows: others than were seen, [n, in], which judge by the squared error of the output.
        weight: of all layers that read it, [in, out].
        symmetric: whether the range is (-a, a).
        signed: storage type.
    """
    exact = rows @ weight
    errors = {}
    for method in METHODS:
        bounds = choose_range(observer, method, symmetric=symmetric, signed=signed)
        errors[method] = activation_error(rows, weight, exact, bounds, symmetric=symmetric)
    return min(METHODS, key=lambda each: errors[each])


def param(low: float, high: float, *, source: str, symmetric: bool, signed: bool) -> QParam:
    """Parameters for a range."""
    found = qparams(low, high, 8, signed, symmetric)
    return QParam(float(found.scale), int(found.zero_point), signed, symmetric, source)
