"""Task metrics over numpy arrays; all of them are fractions or correlations, never percentages.

Where a metric is not defined (a correlation with a constant) it is 0, so that reports hold no NaN.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from targets.errors import InternalError, UsageError

_TIE: Final = 1e-6
_CHUNK: Final = 1024
_CODES_PER_ROW: Final = 4


def accuracy(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Share of equal ids. Both [rows]."""
    a, b = _rows(predicted, gold)
    return float(np.mean(a == b))


def agreement(compiled: Sequence[Any] | NDArray[Any], baseline: Sequence[Any] | NDArray[Any]) -> float:
    """Share of rows on which two models say the same, for predictions of any kind (ids, texts, arrays)."""
    if len(compiled) != len(baseline):
        raise InternalError(f"{len(compiled)} predictions against {len(baseline)}", "report this")
    if len(compiled) == 0:
        raise _nothing()
    return float(np.mean([np.array_equal(a, b) for a, b in zip(compiled, baseline, strict=True)]))


def confusion_matrix(predicted: ArrayLike, gold: ArrayLike) -> NDArray[np.int64]:
    """Counts [gold id, predicted id], over ids from 0 to the largest present."""
    a, b = _rows(predicted, gold)
    a, b = a.astype(np.int64), b.astype(np.int64)
    size = int(max(a.max(), b.max())) + 1
    return np.bincount(b * size + a, minlength=size * size).reshape(size, size).astype(np.int64)


def f1_macro(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Mean of the classes' F1, over the classes that occur in either array. Both [rows] of ids."""
    matrix = confusion_matrix(predicted, gold)
    hits, sizes = np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1)
    present = sizes > 0
    return float(np.mean(2.0 * hits[present] / sizes[present]))


def matthews(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Matthews correlation, for any number of classes (R_k of Gorodkin 2004). Both [rows] of ids."""
    matrix = confusion_matrix(predicted, gold).astype(np.float64)
    said, true, n = matrix.sum(axis=0), matrix.sum(axis=1), matrix.sum()
    covariance = np.trace(matrix) * n - said @ true
    spread = np.sqrt(n * n - said @ said) * np.sqrt(n * n - true @ true)
    return float(covariance / spread) if spread > 0.0 else 0.0


def pearson(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Pearson's correlation of two [rows] of numbers; 0 if either is constant or has one row."""
    a, b = (values.astype(np.float64) for values in _rows(predicted, gold))
    if np.all(a == a[0]) or np.all(b == b[0]):
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    a, b = a / np.abs(a).max(), b / np.abs(b).max()
    return float(np.clip((a @ b) / (np.linalg.norm(a) * np.linalg.norm(b)), -1.0, 1.0))


def spearman(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Spearman's rank correlation of two [rows] of numbers; ties share their mean rank."""
    a, b = _rows(predicted, gold)
    return pearson(ranks(a), ranks(b))


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 1 of [rows] of numbers; equal numbers share the mean of their ranks.

    Codes that `dense_ranks` gave need no sorting, whichever rows of them are asked for.
    """
    numbers = np.asarray(values)
    codes = numbers if _are_codes(numbers) else dense_ranks(numbers)
    counts = np.bincount(codes)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2.0)[codes], dtype=np.float64)


def dense_ranks(values: ArrayLike) -> NDArray[np.int64]:
    """Order of [rows] of numbers as int64 from 0 without gaps; equal numbers are equal.

    `spearman` of these is that of the numbers, and much faster: use them to resample.
    """
    return np.unique(np.asarray(values), return_inverse=True)[1].astype(np.int64)


def _are_codes(numbers: NDArray[Any]) -> bool:
    if numbers.dtype != np.int64 or numbers.size == 0:
        return False
    return bool(numbers.min() >= 0 and numbers.max() < _CODES_PER_ROW * numbers.size)


def multilabel_f1(
    predicted: ArrayLike, gold: ArrayLike, average: Literal["micro", "macro"] = "micro"
) -> float:
    """F1 of [rows, labels] of 0 and 1: over all decisions, or the mean over all labels.

    A label that neither side ever gives has F1 0 in the macro mean, as is usual.
    """
    a, b = (values.astype(bool) for values in _rows(predicted, gold, ndim=2))
    axis = 0 if average == "macro" else None
    hits, sizes = np.sum(a & b, axis=axis), np.sum(a, axis=axis) + np.sum(b, axis=axis)
    return float(np.mean(2.0 * hits / np.maximum(sizes, 1)))


def exact_match(predicted: ArrayLike, gold: ArrayLike) -> float:
    """Share of rows of [rows, labels] in which every label is right."""
    a, b = _rows(predicted, gold, ndim=2)
    return float(np.mean(np.all(a == b, axis=1)))


def cosine(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """Cosine of each row with its counterpart, float64 [rows], of two [rows, dim].

    Two zero rows count as equal (1), one zero row as orthogonal (0).
    """
    x, y = (values.astype(np.float64) for values in _rows(a, b, ndim=2))
    lengths = np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)
    product = lengths[0] * lengths[1]
    similar = np.sum(x * y, axis=1) / np.where(product > 0.0, product, 1.0)
    equal = (lengths[0] == lengths[1]).astype(np.float64)
    return np.asarray(np.where(product > 0.0, np.clip(similar, -1.0, 1.0), equal), dtype=np.float64)


def overlap_at_k(compiled: ArrayLike, baseline: ArrayLike, k: int = 10) -> NDArray[np.float64]:
    """How much of each text's k nearest others stays the same, float64 [rows] of fractions.

    Args:
        compiled: embeddings [rows, dim] of the artifact.
        baseline: embeddings [rows, dim] of the reference, of the same texts.
        k: neighbours by cosine, the text itself left out; at most rows - 1.

    A neighbour that the baseline ranks level with its k-th counts as one of its k, so that duplicated
    texts do not look like a change.
    """
    a, b = _rows(compiled, baseline, ndim=2)
    n = len(a)
    if n < 2:
        raise UsageError("retrieval overlap needs two texts or more", "give more evaluation data")
    k = min(k, n - 1)
    a, b = _unit(a), _unit(b)
    result = np.empty(n, dtype=np.float64)
    for start in range(0, n, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, n))
        new, old = a[rows] @ a.T, b[rows] @ b.T
        new[rows - start, rows] = old[rows - start, rows] = -np.inf
        nearest = np.argpartition(-new, k - 1, axis=1)[:, :k]
        least = -np.partition(-old, k - 1, axis=1)[:, k - 1 : k]
        result[rows] = np.mean(np.take_along_axis(old, nearest, axis=1) >= least - _TIE, axis=1)
    return result


def _unit(x: NDArray[Any]) -> NDArray[np.float64]:
    values = x.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.where(lengths > 0.0, lengths, 1.0), dtype=np.float64)


def _rows(a: ArrayLike, b: ArrayLike, ndim: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape or x.ndim != ndim:
        raise InternalError(f"a metric over shapes {x.shape} and {y.shape}", "report this")
    if x.size == 0:
        raise _nothing()
    return x, y


def _nothing() -> UsageError:
    return UsageError("no rows to evaluate", "give evaluation data with at least one row")
