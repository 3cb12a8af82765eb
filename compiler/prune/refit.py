"""Solves products anew on the pruned stream, so that the pruned network gives what the dense one gives.

Source: K-prune (Park et al., ICLR 2024), section 4.4, with a ridge towards the weights as they are in place
of one towards zero, and for every product that reads a stream that has drifted, not only for what was cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from compiler.prune.moments import Matrix, Moments

RIDGES: Final = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
MAX_GROWTH: Final = 2.0


@dataclass(frozen=True, slots=True)
class Refit:
    """What came of it.

    Attributes:
        weight: [inputs + 1, outputs], the bias its last row.
        ridge: the strength that was chosen; None where the weights stayed what they were.
        before, after: relative squared errors on held-out rows.
    """

    weight: Matrix
    ridge: float | None
    before: float
    after: float


def ridge_towards(moments: Moments, prior: Matrix, strength: float, *, free_bias: bool = True) -> Matrix:
    """Solves (G + l D) W = X'Y + l D W0, D being 1 for weights and 0 for the bias.

    Args:
        moments: of the rows to fit, at least one.
        prior: [inputs + 1, outputs], W0; its last row is not a prior where the bias is free.
        strength: l as a share of G's mean diagonal, above 0.
        free_bias: whether there is a bias to solve for; else it stays what it is.
    """
    inputs = len(prior) - 1
    if not free_bias:
        cross = moments.cross[:inputs] - moments.gram[:inputs, inputs:] * prior[inputs]
        return np.vstack(
            [_solved(moments.gram[:inputs, :inputs], cross, prior[:inputs], strength), prior[inputs]]
        )
    return _solved(moments.gram, moments.cross, prior, strength, free=1)


def _solved(gram: Matrix, cross: Matrix, prior: Matrix, strength: float, *, free: int = 0) -> Matrix:
    """The ridge solution; the last `free` rows are not held."""
    held = len(prior) - free
    mean = float(np.trace(gram[:held, :held])) / max(held, 1)
    pull = np.full(len(prior), strength * (mean if mean > 0 else 1.0))
    pull[held:] = 0.0
    solved = np.linalg.solve(gram + np.diag(pull), cross + pull[:, None] * prior)
    return np.asarray(solved, np.float64)


def refit(
    fit: Moments,
    held_out: Moments,
    prior: Matrix,
    ridges: Sequence[float] = RIDGES,
    *,
    free_bias: bool = True,
) -> Refit:
    """The solution that is best on rows it was not fitted to; the prior where none is better.

    A solution whose largest weight is more than twice the prior's is left out: INT8 would pay for it.

    Args:
        fit: moments of the rows to fit.
        held_out: of others.
        prior: [inputs + 1, outputs], the weights after pruning, the bias their last row.
        ridges: strengths to choose from.
        free_bias: see `ridge_towards`.
    """
    scale = held_out.power if held_out.power > 0 else 1.0
    before = held_out.error(prior) / scale
    best = Refit(prior, None, before, before)
    limit = MAX_GROWTH * float(np.max(np.abs(prior[:-1]), initial=0.0))
    for ridge in ridges:
        weight = ridge_towards(fit, prior, ridge, free_bias=free_bias)
        after = held_out.error(weight) / scale
        if after < best.after and float(np.max(np.abs(weight[:-1]), initial=0.0)) <= limit:
            best = Refit(weight, ridge, before, after)
    return best
