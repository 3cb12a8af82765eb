"""Paired bootstrap: how sure the difference between two models on the same rows is.

The rows are drawn with replacement, the same rows for both models (Efron and Tibshirani 1993, chapter
16; Koehn 2004), and the interval is that of the percentiles.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from targets.errors import InternalError, UsageError

Metric: TypeAlias = Callable[[NDArray[np.int64]], float]

_FEW_VALUES: Final = 64
_CHUNK_ELEMENTS: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Interval:
    """The difference compiled - baseline, in the metric's own unit.

    Attributes:
        delta: on the rows themselves.
        low: lower end of the interval.
        high: upper end of the interval.
        confidence: share of resamples inside the interval.
        n: rows.
    """

    delta: float
    low: float
    high: float
    confidence: float
    n: int


def paired_bootstrap(
    baseline: ArrayLike,
    compiled: ArrayLike,
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of the difference of means of a score that every row has (hit or miss, F1 of an answer).

    Args:
        baseline: float [rows].
        compiled: float [rows], same rows.
        n_resamples: how many draws.
        confidence: share of draws inside the interval.
        seed: of the draws; the same arguments give the same interval.

    Raises:
        UsageError: no rows.
        InternalError: arrays that are not two equal [rows].
    """
    a, b = np.asarray(baseline, dtype=np.float64), np.asarray(compiled, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise InternalError(f"a bootstrap over shapes {a.shape} and {b.shape}", "report this")
    n = _checked(len(a), n_resamples, confidence)
    change = b - a
    rng = np.random.default_rng(seed)
    values, counts = np.unique(change, return_counts=True)
    if len(values) <= _FEW_VALUES:
        means = rng.multinomial(n, counts / n, size=n_resamples) @ values / n
    else:
        means = np.concatenate([change[rows].mean(axis=1) for rows in _draws(rng, n, n_resamples)])
    return _interval(float(change.mean()), means, confidence, n)


def paired_bootstrap_metric(
    baseline: Metric,
    compiled: Metric,
    n: int,
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Interval of the difference of a metric that is no mean over rows (macro F1, a correlation).

    Args:
        baseline: metric of the baseline over the rows at int64 [n] indices, with repetitions.
        compiled: the same metric of the artifact.
        n: rows.
        n_resamples: how many draws.
        confidence: share of draws inside the interval.
        seed: of the draws.

    Raises:
        UsageError: no rows.
    """
    _checked(n, n_resamples, confidence)
    rng = np.random.default_rng(seed)
    deltas = [compiled(rows) - baseline(rows) for draw in _draws(rng, n, n_resamples) for rows in draw]
    every = np.arange(n, dtype=np.int64)
    return _interval(compiled(every) - baseline(every), np.array(deltas), confidence, n)


def _draws(rng: np.random.Generator, n: int, resamples: int) -> Iterator[NDArray[np.int64]]:
    """Indices [draws, n] in blocks of bounded size."""
    block = max(1, _CHUNK_ELEMENTS // n)
    for start in range(0, resamples, block):
        yield rng.integers(0, n, size=(min(block, resamples - start), n))


def _checked(n: int, n_resamples: int, confidence: float) -> int:
    if n < 1:
        raise UsageError("no rows to evaluate", "give evaluation data with at least one row")
    if n_resamples < 1 or not 0.0 < confidence < 1.0:
        raise InternalError(f"{n_resamples} resamples at confidence {confidence}", "report this")
    return n


def _interval(delta: float, deltas: NDArray[np.float64], confidence: float, n: int) -> Interval:
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(deltas, [tail, 1.0 - tail])
    return Interval(delta, float(low), float(high), confidence, n)
