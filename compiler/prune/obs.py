"""Optimal brain surgeon for groups of rows: the next to remove, and the weights that make up for it.

Source: ZipLM (Kurtic et al., NeurIPS 2023), equations 2 to 4, after OBS (Hassibi & Stork, 1992).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

DAMPING: Final = 1e-3


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A product with some of its groups removed.

    Attributes:
        kept: the groups that are left, ascending.
        error: increase of the damped loss, tr((W0 - W)' H (W0 - W)) with the removed rows of W zero.
    """

    kept: NDArray[np.intp]
    error: float


def damped(gram: Matrix, damping: float = DAMPING) -> Matrix:
    """H = G + lambda I, with lambda a share of G's mean diagonal, and 1 where G is zero.

    Args:
        gram: [in, in], X'X of the product's inputs.
        damping: the share.
    """
    mean = float(np.trace(gram)) / len(gram)
    return gram + np.eye(len(gram)) * (damping * mean if mean > 0 else 1.0)


def obs_path(
    hessian: Matrix, weight: Matrix, levels: Sequence[int], *, group_size: int = 1, step: int = 1
) -> Iterator[Snapshot]:
    """Removes groups of rows, the cheapest first, and yields what is left at every level.

    The score of a group S is tr(W_S' inv(P_SS) W_S) with P = inv(H): what removing it adds to the loss
    after W <- W - P_:S inv(P_SS) W_S, the best that the other rows can do. After a removal P is what it would
    be without those rows, P - P_:S inv(P_SS) P_S:. Several groups of one step are chosen by their scores
    alone, and made up for together. Columns of W can be mixed beforehand by a root of the metric that errors
    are measured in: the compensation is the same, and the scores are in that metric.

    Args:
        hessian: [in, in], positive definite; see `damped`.
        weight: [in, out].
        levels: how many groups are left, descending.
        group_size: rows of a group, which lie side by side: the size of a head, or 1.
        step: the most groups removed at once; 1 is exact, more are faster.

    Yields:
        A snapshot for each level, in their order.

    Raises:
        ValueError: rows that are no whole number of groups, or levels that do not descend.
        numpy.linalg.LinAlgError: the Hessian is singular.
    """
    groups, rest = divmod(len(weight), group_size)
    if rest or any(a <= b for a, b in zip((groups + 1, *levels), levels, strict=False)) or min(levels) < 0:
        raise ValueError(f"{len(weight)} rows in groups of {group_size} have no levels {tuple(levels)}")
    state = _State(hessian, weight, group_size)
    for level in levels:
        while len(state.kept) > level:
            state.remove(min(step, len(state.kept) - level))
        yield Snapshot(state.kept.copy(), state.error)


def compensated(hessian: Matrix, weight: Matrix, rows: NDArray[np.intp]) -> Matrix:
    """The best weights of some rows alone: inv(H_KK) H_K W, what a path's removals come to.

    Args:
        hessian: [in, in], positive definite.
        weight: [in, out].
        rows: those that are left, ascending.

    Returns:
        [rows, out].
    """
    if len(rows) == len(weight):
        return weight.copy()
    return np.asarray(np.linalg.solve(hessian[np.ix_(rows, rows)], hessian[rows] @ weight), np.float64)


class _State:
    """The rows that are left: P and W of those alone, so that later steps are cheaper."""

    def __init__(self, hessian: Matrix, weight: Matrix, size: int) -> None:
        self.kept = np.arange(len(weight) // size)
        self.weight = np.array(weight, np.float64)
        self.error = 0.0
        self._size = size
        self._inverse: Matrix = np.linalg.inv(np.asarray(hessian, np.float64))

    def remove(self, count: int) -> None:
        """Removes so many groups and makes up for them."""
        worst = np.argsort(self._scores(), kind="stable")[:count]
        rows = (worst[:, None] * self._size + np.arange(self._size)).ravel()
        left = np.setdiff1d(np.arange(len(self.weight)), rows, assume_unique=True)
        across = self._inverse[np.ix_(left, rows)]
        joined = np.concatenate([self.weight[rows], across.T], axis=1)
        solved = np.linalg.solve(self._inverse[np.ix_(rows, rows)], joined)
        gain = solved[:, : self.weight.shape[1]]
        self.error += float(np.sum(self.weight[rows] * gain))
        self.weight = self.weight[left] - across @ gain
        inverse = self._inverse[np.ix_(left, left)] - across @ solved[:, self.weight.shape[1] :]
        self._inverse = (inverse + inverse.T) / 2
        self.kept = np.delete(self.kept, worst)

    def _scores(self) -> Matrix:
        size, groups = self._size, len(self.kept)
        if size == 1:
            scores: Matrix = np.sum(self.weight**2, axis=1) / np.diagonal(self._inverse)
            return scores
        places = np.arange(groups)
        blocks = self._inverse.reshape(groups, size, groups, size)[places, :, places, :]
        weights = self.weight.reshape(groups, size, -1)
        solved: Matrix = np.einsum("gso,gso->g", weights, np.linalg.solve(blocks, weights))
        return solved
