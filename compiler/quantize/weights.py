"""Constant matrices to symmetric S8, per column or per row."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from compiler.quantize.plan import QWeight

_CLIPS: Final = np.linspace(0.70, 1.0, 13)
_ROWS_AT_ONCE: Final = 4096


def quantize_columns(
    weight: NDArray[np.float32], *, qmax: int, importance: NDArray[np.float64] | None = None
) -> QWeight:
    """One scale per output channel, clipped where that lowers the weighted squared error.

    For each column w the clip c minimizes `sum_i h_i (w_i - Q_c(w_i))^2`, with h the mean square of
    input channel i: the diagonal of the layer's output error (OBQ, Frantar and Alistarh 2022, eq. 3,
    cross terms left out).

    Args:
        weight: [in, out].
        qmax: 127 for the full range, 64 for CPUs whose 16-bit sums saturate.
        importance: [in], the mean square of each input channel; all equal when None.
    """
    scale = best_scale(weight, _CLIPS, qmax, None if importance is None else importance[:, None])
    return QWeight(round_to(weight, scale[None, :], qmax), scale, axis=1)


def quantize_rows(table: NDArray[np.float32]) -> QWeight:
    """One scale per row of an embedding table [rows, width], by the row's largest magnitude."""
    scale = np.empty(table.shape[0], np.float32)
    values = np.empty(table.shape, np.int8)
    for start in range(0, table.shape[0], _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        scale[rows] = _positive(np.abs(table[rows]).max(axis=1) / 127.0)
        values[rows] = round_to(table[rows], scale[rows, None], 127)
    return QWeight(values, scale, axis=0)


def best_scale(
    weight: NDArray[np.float32],
    clips: NDArray[np.float64],
    qmax: int,
    importance: NDArray[np.float64] | None,
) -> NDArray[np.float32]:
    """The scale of each column [out] with the least (weighted) squared error over the given clips."""
    largest = np.abs(weight).max(axis=0) / qmax
    chosen = _positive(largest)
    least = np.full(weight.shape[1], np.inf)
    for clip in sorted(clips, reverse=True):
        scale = _positive(largest * clip)
        error = (np.clip(np.rint(weight / scale), -qmax, qmax) * scale - weight) ** 2
        total = (error if importance is None else error * importance).sum(axis=0)
        better = total < least
        least, chosen = np.where(better, total, least), np.where(better, scale, chosen)
    return chosen.astype(np.float32)


def round_to(weight: NDArray[np.float32], scale: NDArray[np.float32], qmax: int) -> NDArray[np.int8]:
    """Round half to even, saturate at +-qmax."""
    return np.asarray(np.clip(np.rint(weight / scale), -qmax, qmax), np.int8)


def _positive(scale: NDArray[np.floating]) -> NDArray[np.float32]:
    tiny = np.float32(np.finfo(np.float32).tiny)
    return np.where(scale > tiny, scale, np.float32(1.0)).astype(np.float32)
