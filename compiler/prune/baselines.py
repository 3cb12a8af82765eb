"""Simpler ways to choose what to remove, to compare with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from compiler.prune.moments import Matrix
from compiler.prune.obs import Snapshot


def magnitude_scores(weight: Matrix, group_size: int) -> Matrix:
    """The squared norm of each group's rows.

    Source: Han et al., NeurIPS 2015, for groups as Li et al., ICLR 2017.

    Args:
        weight: [in, out].
        group_size: rows of a group.
    """
    rows = np.sum(weight**2, axis=1)
    return np.asarray(rows.reshape(-1, group_size).sum(axis=1), np.float64)


def wanda_scores(gram: Matrix, weight: Matrix, group_size: int) -> Matrix:
    """The squared norm of each group's rows, each row times the norm of its input.

    Source: Wanda (Sun et al., ICLR 2024), equation 1, squared and added up over groups.

    Args:
        gram: [in, in], X'X of the product's inputs.
        weight: [in, out].
        group_size: rows of a group.
    """
    rows = np.sum(weight**2, axis=1) * np.diagonal(gram)
    return np.asarray(rows.reshape(-1, group_size).sum(axis=1), np.float64)


def ranked_path(scores: NDArray[np.float64], levels: Sequence[int]) -> Iterator[Snapshot]:
    """The groups of the largest scores at every level; the error is the sum of the others'.

    Args:
        scores: of each group, 0 or more.
        levels: how many groups are left, descending.
    """
    order = np.argsort(-scores, kind="stable")
    for level in levels:
        yield Snapshot(np.sort(order[:level]), float(scores[order[level:]].sum()))
