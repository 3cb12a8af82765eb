"""How much of a tensor's range to quantize: from everything seen down to what costs least."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.divergence import best_window
from calibration.observers import RangeObserver
from calibration.qparams import qparams, representable
from targets.errors import UsageError

METHODS: Final = ("minmax", "percentile-99.99", "percentile-99.999", "mse", "entropy")
Range: TypeAlias = tuple[float, float]
_Errors: TypeAlias = Callable[[list[Range]], NDArray[np.float64]]

_PERCENTILE: Final = re.compile(r"percentile-(\d+(?:\.\d+)?)")
_SMALLEST_CLIP: Final = 1.0 / 64.0
_COARSE: Final = 64
_FINE: Final = 17
_ROUNDS: Final = 2


def choose_range(
    observer: RangeObserver, method: str, *, bits: int = 8, symmetric: bool, signed: bool
) -> Range:
    """Choose the range to quantize an observed tensor over.

    Args:
        observer: what was seen of the tensor.
        method: one of `METHODS`, or ``percentile-P`` with P in (50, 100].
        bits: width of the integers.
        symmetric: whether the result is (-a, a).
        signed: storage type of the integers.

    Returns:
        (low, high) with low <= 0 <= high, inside the range seen except where symmetric widens a
        one-sided tensor; (0, 0) for a tensor that was always zero or never seen.

    Raises:
        UsageError: unknown method.
    """
    percentile = _percentile(method)
    full = _widest(observer, symmetric)
    if full == (0.0, 0.0) or observer.minimum == observer.maximum:
        return full
    if method == "minmax":
        return full
    if percentile is not None:
        return percentile_range(observer, percentile, symmetric=symmetric)
    if method == "mse":
        return mse_range(observer, bits=bits, symmetric=symmetric, signed=signed)
    return entropy_range(observer, bits=bits, symmetric=symmetric)


def percentile_range(observer: RangeObserver, percentile: float, *, symmetric: bool) -> Range:
    """Leave out the outermost (100 - percentile)%: of magnitudes if symmetric, else half at each end."""
    counts, edges = observer.histogram, observer.edges
    low, high = _widest(observer, symmetric)
    outside = 1.0 - percentile / 100.0
    if symmetric:
        magnitudes = _folded(counts)
        bound = min(_quantile(magnitudes, edges[len(counts) // 2 :], 1.0 - outside), high)
        return -bound, bound
    above = _quantile(counts, edges, 1.0 - outside / 2.0)
    below = _quantile(counts, edges, outside / 2.0)
    return max(low, min(below, 0.0)), min(high, max(above, 0.0))


def mse_range(observer: RangeObserver, *, bits: int, symmetric: bool, signed: bool) -> Range:
    """The range of least expected squared error, rounding and clipping together, over a grid of clips.

    Symmetric ranges are searched in one dimension, others by turns at each end. The full range is
    among the candidates, so the result is never worse than it under `expected_error`.
    """

    def errors(ranges: list[Range]) -> NDArray[np.float64]:
        return expected_error(observer, ranges, bits=bits, symmetric=symmetric, signed=signed)

    low, high = _widest(observer, symmetric)
    if symmetric:
        bound = _refine(high, lambda bounds: errors([(-b, b) for b in bounds]))
        return -bound, bound
    best = (low, high)
    for _ in range(_ROUNDS):
        best = best[0], _refine(high, partial(_high_errors, errors, best[0]))
        best = -_refine(-low, partial(_low_errors, errors, best[1])), best[1]
    full_error, best_error = errors([(low, high), best])
    return best if best_error <= full_error else (low, high)


def entropy_range(observer: RangeObserver, *, bits: int, symmetric: bool) -> Range:
    """The range whose quantized histogram diverges least from the one seen (Migacz 2017).

    Symmetric ranges compare magnitudes with ``2**(bits-1)`` levels as in TensorRT's calibrator; others
    move each end by turns over ``2**bits`` levels.
    """
    low, high = _widest(observer, symmetric)
    counts, edges = observer.histogram, observer.edges
    half = len(counts) // 2
    if symmetric:
        _, end = best_window(_folded(counts), 0, 1 << (bits - 1))
        bound = min(high, float(edges[half + end]))
        return -bound, bound
    start, end = best_window(counts, half, 1 << bits)
    return max(low, float(edges[start])), min(high, float(edges[end]))


def _high_errors(errors: _Errors, low: float, bounds: list[float]) -> NDArray[np.float64]:
    return errors([(low, bound) for bound in bounds])


def _low_errors(errors: _Errors, high: float, bounds: list[float]) -> NDArray[np.float64]:
    return errors([(-bound, high) for bound in bounds])


def expected_error(
    observer: RangeObserver, ranges: list[Range], *, bits: int, symmetric: bool, signed: bool
) -> NDArray[np.float64]:
    """Mean squared error of quantizing the tensor over each range, float64 [ranges].

    Values are taken as spread evenly within a bin, for which the integral of the squared error is exact:
    a whole step of width s contributes s**3 / 12, and a distance d beyond the clip d**3 / 3.
    """
    first, last = _occupied(observer.histogram)
    counts = observer.histogram[first:last].astype(np.float64)
    edges = observer.edges[first : last + 1]
    density = counts / (edges[1] - edges[0])
    result = np.empty(len(ranges), dtype=np.float64)
    for i, (low, high) in enumerate(ranges):
        params = qparams(low, high, bits, signed, symmetric)
        result[i] = density @ np.diff(
            _integral(edges, float(params.scale), *representable(params, bits, signed))
        )
    return result / max(observer.count, 1)


def _integral(x: NDArray[np.float64], step: float, low: float, high: float) -> NDArray[np.float64]:
    """Integral from 0 to x of the squared error of rounding to multiples of `step` within [low, high]."""
    inside = np.clip(x, low, high)
    whole = np.rint(inside / step)
    rounding = whole * (step**3 / 12.0) + (inside - whole * step) ** 3 / 3.0
    return np.asarray(rounding + (x - inside) ** 3 / 3.0, dtype=np.float64)


def _refine(bound: float, errors: Callable[[list[float]], NDArray[np.float64]]) -> float:
    """The best of a geometric grid below `bound`, then of a finer one around it."""
    if bound <= 0.0:
        return 0.0
    coarse = [bound * float(f) for f in np.geomspace(1.0, _SMALLEST_CLIP, _COARSE)]
    at = int(np.argmin(errors(coarse)))
    near, far = coarse[max(at - 1, 0)], coarse[min(at + 1, _COARSE - 1)]
    fine = [coarse[at], *(float(value) for value in np.linspace(near, far, _FINE))]
    return fine[int(np.argmin(errors(fine)))]


def _percentile(method: str) -> float | None:
    if method in METHODS and not method.startswith("percentile"):
        return None
    match = _PERCENTILE.fullmatch(method)
    if match is None or not 50.0 < float(match[1]) <= 100.0:
        raise UsageError(f"unknown range method {method!r}", f"choose one of {', '.join(METHODS)}")
    return float(match[1])


def _widest(observer: RangeObserver, symmetric: bool) -> Range:
    low, high = min(observer.minimum, 0.0), max(observer.maximum, 0.0)
    bound = max(-low, high)
    return (-bound, bound) if symmetric else (low, high)


def _folded(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Histogram of magnitudes, [bins / 2]."""
    half = len(counts) // 2
    return counts[half:] + counts[:half][::-1]


def _occupied(counts: NDArray[np.int64]) -> tuple[int, int]:
    filled = np.flatnonzero(counts)
    return (int(filled[0]), int(filled[-1]) + 1) if filled.size else (0, 1)


def _quantile(counts: NDArray[np.int64], edges: NDArray[np.float64], share: float) -> float:
    """Smallest value with at least `share` of the counts below it, linear within a bin."""
    below = np.concatenate(([0], np.cumsum(counts)))
    wanted = share * float(below[-1])
    i = min(max(int(np.searchsorted(below, wanted - 1e-6)), 1), len(counts)) - 1
    part = (wanted - float(below[i])) / max(int(counts[i]), 1)
    return float(edges[i] + np.clip(part, 0.0, 1.0) * (edges[i + 1] - edges[i]))
