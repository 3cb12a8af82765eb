"""Choosing a clip by relative entropy, after S. Migacz, "8-bit inference with TensorRT", GTC 2017."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_CANDIDATES: Final = 128
_ROUNDS: Final = 2
_SMOOTHING: Final = 1e-6


def best_window(counts: NDArray[np.int64], zero: int, levels: int) -> tuple[int, int]:
    """The window of bins around zero that keeps most of a histogram's information in `levels` levels.

    Args:
        counts: histogram, int64 [bins].
        zero: index of the edge at value zero; 0 for a histogram of magnitudes.
        levels: number of values of the integers.

    Returns:
        (start, end): bins ``start`` to ``end - 1`` are kept, with start <= zero <= end and at least as
        many bins as levels (or the whole occupied part).
    """
    filled = np.flatnonzero(counts)
    if filled.size == 0:
        return zero, zero
    first, last = min(int(filled[0]), zero), max(int(filled[-1]) + 1, zero)
    below = np.concatenate(([0], np.cumsum(counts)))
    window = (first, last)
    for _ in range(_ROUNDS):
        window = _best(counts, below, [(window[0], end) for end in _ends(zero, last)], levels, window)
        window = _best(counts, below, [(start, window[1]) for start in _ends(zero, first)], levels, window)
    return window


def divergence(counts: NDArray[np.int64], start: int, end: int, levels: int) -> float:
    """Relative entropy in nats of a clipped histogram against its quantized form.

    What lies outside the window is added to the outermost bins of the reference, not to the quantized
    form; the quantized form spreads each level's mass evenly over the bins that are not empty.
    """
    return _divergence(counts, np.concatenate(([0], np.cumsum(counts))), start, end, levels)


def _ends(zero: int, far: int) -> list[int]:
    """Evenly spaced edges from `far` towards zero, without zero itself unless it is all there is."""
    steps = np.unique(np.linspace(far, zero, _CANDIDATES + 1).round().astype(int))
    return [int(edge) for edge in steps if edge != zero] or [zero]


def _best(
    counts: NDArray[np.int64],
    below: NDArray[np.int64],
    candidates: Sequence[tuple[int, int]],
    levels: int,
    current: tuple[int, int],
) -> tuple[int, int]:
    best, least = current, _divergence(counts, below, *current, levels)
    for start, end in candidates:
        if end - start >= levels:
            value = _divergence(counts, below, start, end, levels)
            if value < least:
                best, least = (start, end), value
    return best


def _divergence(
    counts: NDArray[np.int64], below: NDArray[np.int64], start: int, end: int, levels: int
) -> float:
    kept = counts[start:end].astype(np.float64)
    reference = kept.copy()
    reference[0] += float(below[start])
    reference[-1] += float(below[-1] - below[end])
    occupied = reference > 0.0
    level = np.arange(end - start) * levels // (end - start)
    mass = np.bincount(level, weights=kept, minlength=levels)
    share = np.bincount(level, weights=occupied.astype(np.float64), minlength=levels)
    quantized = np.where(occupied, mass[level] / np.maximum(share[level], 1.0), 0.0)
    p = reference[occupied] / reference.sum()
    q = quantized[occupied] / max(float(quantized.sum()), 1.0)
    q = (q + _SMOOTHING / q.size) / (1.0 + _SMOOTHING)
    return float(np.sum(p * np.log(p / q)))
