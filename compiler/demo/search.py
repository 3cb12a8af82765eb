"""Search by meaning, with two models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that at least one of the models ranks at the top.

    Attributes:
        text: the passage.
        fp32_rank, bundle_rank: its place among all passages, from 1.
        fp32_cosine, bundle_cosine: its cosine with the query.
    """

    text: str
    fp32_rank: int
    bundle_rank: int
    fp32_cosine: float
    bundle_cosine: float


@dataclass(frozen=True, slots=True)
class Search:
    """A query and what was found, in the order of the FP32 model."""

    query: str
    hits: tuple[Hit, ...]


def search(
    queries: Sequence[str],
    passages: Sequence[str],
    fp32: tuple[Vectors, Vectors],
    bundle: tuple[Vectors, Vectors],
    *,
    top: int = 3,
) -> tuple[Search, ...]:
    """Rank passages for each query by cosine.

    Args:
        queries: texts.
        passages: texts.
        fp32: unit vectors of the queries and of the passages, [texts, dimension], by the FP32 model.
        bundle: the same by the compiled one.
        top: passages wanted of each model; both models' are shown.
    """
    scores = [vectors[0] @ vectors[1].T for vectors in (fp32, bundle)]
    return tuple(
        Search(query, _hits(passages, scores[0][row], scores[1][row], top))
        for row, query in enumerate(queries)
    )


def same_nearest(before: Vectors, after: Vectors) -> float:
    """Share of texts whose nearest other text is the same for both; unit vectors [texts, dimension]."""
    return float(np.mean(_nearest(before) == _nearest(after)))


def _nearest(vectors: Vectors) -> NDArray[np.intp]:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest: NDArray[np.intp] = np.argmax(scores, axis=1)
    return nearest


def _hits(passages: Sequence[str], before: Vectors, after: Vectors, top: int) -> tuple[Hit, ...]:
    ranks = [np.argsort(np.argsort(-scores, kind="stable"), kind="stable") for scores in (before, after)]
    shown = np.flatnonzero(np.minimum(*ranks) < top)
    return tuple(
        Hit(passages[i], int(ranks[0][i]) + 1, int(ranks[1][i]) + 1, float(before[i]), float(after[i]))
        for i in shown[np.argsort(ranks[0][shown])]
    )
