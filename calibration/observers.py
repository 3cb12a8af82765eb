"""Streaming statistics of one tensor in memory that depends on the number of bins, not of samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.errors import InternalError, UnsupportedError

DEFAULT_BINS: Final = 8192
_SMALLEST_EXPONENT: Final = -100


class RangeObserver:
    """Range and two-sided histogram of a tensor, over any number of updates.

    The histogram's bins divide [-2**e, 2**e) evenly, with e the smallest exponent that covers every
    value seen. When a larger value arrives, pairs of bins merge; as all edges are multiples of a power
    of two this loses nothing, so the result is the same in whatever order, split or merge the data came.

    Attributes:
        count: values seen.
        channel_min: float32 [channels], None before the first row.
        channel_max: float32 [channels], None before the first row.
    """

    def __init__(self, bins: int = DEFAULT_BINS) -> None:
        """Start empty.

        Args:
            bins: a power of two of at least 2048.

        Raises:
            InternalError: any other number of bins.
        """
        if bins < 2048 or bins & (bins - 1):
            raise InternalError(f"{bins} bins", "use a power of two of at least 2048")
        self.bins = bins
        self.count = 0
        self.channel_min: NDArray[np.float32] | None = None
        self.channel_max: NDArray[np.float32] | None = None
        self._exponent = _SMALLEST_EXPONENT
        self._counts: NDArray[np.int64] = np.zeros(bins, dtype=np.int64)

    def update(self, x: NDArray[Any]) -> None:
        """Add rows.

        Args:
            x: [..., channels] floats, of which every row counts (no PAD rows).

        Raises:
            UnsupportedError: NaN or infinity in `x`.
            InternalError: another number of channels than before.
        """
        values = np.ascontiguousarray(x, dtype=np.float32)
        if values.ndim < 2:
            raise InternalError(f"shape {values.shape} observed", "give [rows, channels]")
        rows = values.reshape(-1, values.shape[-1])
        if rows.size == 0:
            return
        low, high = rows.min(axis=0), rows.max(axis=0)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise UnsupportedError(
                "an activation holds NaN or infinity, so it has no range",
                "check the model's weights and the texts; meanwhile compile with --precision fp32",
            )
        self._merge_channels(low, high)
        self._cover(_exponent_of(max(float(-low.min()), float(high.max()))))
        self._counts += self._histogram(rows)
        self.count += rows.size

    def merge(self, other: RangeObserver) -> None:
        """Add everything that `other` has seen; the result equals one observer over both.

        Raises:
            InternalError: different numbers of bins or channels.
        """
        if other.bins != self.bins:
            raise InternalError(f"{self.bins} and {other.bins} bins cannot merge", "use the same number")
        if other.channel_min is None or other.channel_max is None:
            return
        self._merge_channels(other.channel_min, other.channel_max)
        self._cover(other._exponent)
        self._counts += _rebinned(other._counts, self._exponent - other._exponent)
        self.count += other.count

    def widen(self, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        """Extend the range of each channel to what was seen elsewhere; counts stay as they are.

        Args:
            low: float32 [channels].
            high: float32 [channels].
        """
        self._merge_channels(low, high)

    @property
    def minimum(self) -> float:
        """Smallest value seen; 0 before the first."""
        return float(self.channel_min.min()) if self.channel_min is not None else 0.0

    @property
    def maximum(self) -> float:
        """Largest value seen; 0 before the first."""
        return float(self.channel_max.max()) if self.channel_max is not None else 0.0

    @property
    def channel_absmax(self) -> NDArray[np.float32]:
        """Largest magnitude per channel, float32 [channels]; empty before the first row."""
        if self.channel_min is None or self.channel_max is None:
            return np.zeros(0, dtype=np.float32)
        return np.maximum(-self.channel_min, self.channel_max)

    @property
    def histogram(self) -> NDArray[np.int64]:
        """Counts per bin, int64 [bins]."""
        return self._counts.copy()

    @property
    def edges(self) -> NDArray[np.float64]:
        """Edges of the bins, float64 [bins + 1], symmetric about zero; bin i holds [edge i, edge i+1)."""
        half = self.bins // 2
        return np.arange(-half, half + 1, dtype=np.float64) * (2.0**self._exponent / half)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The whole state as arrays, for a cache."""
        empty = np.zeros(0, dtype=np.float32)
        return {
            "counts": self._counts.copy(),
            "state": np.array([self._exponent, self.count], dtype=np.int64),
            "channel_min": empty if self.channel_min is None else self.channel_min,
            "channel_max": empty if self.channel_max is None else self.channel_max,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> RangeObserver:
        """Restore what `to_arrays` gave."""
        counts = arrays["counts"]
        observer = cls(bins=len(counts))
        observer._counts = counts.astype(np.int64)
        observer._exponent, observer.count = (int(value) for value in arrays["state"])
        if observer.count:
            observer.channel_min = arrays["channel_min"].astype(np.float32)
            observer.channel_max = arrays["channel_max"].astype(np.float32)
        return observer

    def _merge_channels(self, low: NDArray[np.float32], high: NDArray[np.float32]) -> None:
        if self.channel_min is None or self.channel_max is None:
            self.channel_min, self.channel_max = low.copy(), high.copy()
            return
        if low.shape != self.channel_min.shape:
            raise InternalError(
                f"{low.size} channels after {self.channel_min.size}", "observe one tensor per observer"
            )
        np.minimum(self.channel_min, low, out=self.channel_min)
        np.maximum(self.channel_max, high, out=self.channel_max)

    def _cover(self, exponent: int) -> None:
        if exponent > self._exponent:
            if self.count:
                self._counts = _rebinned(self._counts, exponent - self._exponent)
            self._exponent = exponent

    def _histogram(self, rows: NDArray[np.float32]) -> NDArray[np.int64]:
        half = self.bins // 2
        position = rows * np.float32(half * 2.0**-self._exponent)
        index = np.floor(position, out=position).astype(np.intp)
        index += half
        return np.bincount(index.ravel(), minlength=self.bins).astype(np.int64)


def _exponent_of(absmax: float) -> int:
    """The smallest e with absmax < 2**e, and not below the smallest the observer keeps."""
    return max(math.frexp(absmax)[1], _SMALLEST_EXPONENT) if absmax > 0.0 else _SMALLEST_EXPONENT


def _rebinned(counts: NDArray[np.int64], doublings: int) -> NDArray[np.int64]:
    """Counts after the covered range has doubled so many times: groups of bins merge, from the middle."""
    if doublings == 0:
        return counts
    half = len(counts) // 2
    index = (np.arange(-half, half) >> min(doublings, 62)) + half
    merged = np.zeros_like(counts)
    np.add.at(merged, index, counts)
    return merged
