"""How much of each module to keep: the least error under a budget, by dynamic programming.

Source: SPDY (Frantar & Alistarh, ICML 2022), algorithm 1: a knapsack of one choice for each module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from targets.errors import UsageError

CELLS: Final = 20_000


@dataclass(frozen=True, slots=True)
class Level:
    """One choice for a module.

    Attributes:
        kept: heads or neurons.
        cost: in the budget's unit, 0 or more.
        error: what the choice costs in accuracy, 0 or more.
    """

    kept: int
    cost: float
    error: float


@dataclass(frozen=True, slots=True)
class Module:
    """The attention or the feed-forward network of a layer, with its choices."""

    name: str
    levels: tuple[Level, ...]


def allocate(modules: Sequence[Module], budget: float, *, cells: int = CELLS) -> tuple[Level, ...]:
    """One level for each module, of the least total error within a budget.

    Costs are rounded up to the budget's cells, so that the budget holds; what is lost by it is at most one
    cell a module. Where the levels of least error fit, they are the answer.

    Args:
        modules: each with at least one level.
        budget: the most that all costs may be together.
        cells: what the budget is divided into.

    Raises:
        UsageError: even the cheapest levels cost more.
    """
    finest = tuple(min(each.levels, key=lambda level: (level.error, level.cost)) for each in modules)
    if sum(level.cost for level in finest) <= budget:
        return finest
    least = sum(min(level.cost for level in each.levels) for each in modules)
    if least > budget:
        raise UsageError(
            f"a budget of {budget:.4g} is out of reach: with the least of every module it is {least:.4g}",
            "ask for less, or let more kinds of module be pruned",
        )
    steps = [_steps(each, budget, cells) for each in modules]
    choices = _choices(modules, steps, cells)
    if choices is None:
        return tuple(min(each.levels, key=lambda level: level.cost) for each in modules)
    return tuple(each.levels[choice] for each, choice in zip(modules, choices, strict=True))


def _steps(module: Module, budget: float, cells: int) -> list[int]:
    """Cells that each level takes, rounded up but for what floating point adds."""
    if budget <= 0:
        return [0 if level.cost <= 0 else cells + 1 for level in module.levels]
    return [int(np.ceil(level.cost / budget * cells - 1e-9)) for level in module.levels]


def _choices(modules: Sequence[Module], steps: Sequence[Sequence[int]], cells: int) -> list[int] | None:
    """The level of each module by its place; None where rounding left nothing within the cells."""
    best: NDArray[np.float64] = np.zeros(cells + 1)
    taken: list[NDArray[np.int16]] = []
    for module, sizes in zip(modules, steps, strict=True):
        errors = np.full((len(sizes), cells + 1), np.inf)
        for place, (level, size) in enumerate(zip(module.levels, sizes, strict=True)):
            if size <= cells:
                errors[place, size:] = best[: cells + 1 - size] + level.error
        taken.append(np.argmin(errors, axis=0).astype(np.int16))
        best = np.min(errors, axis=0)
    if not np.isfinite(best[cells]):
        return None
    left, chosen = cells, []
    for sizes, choice in zip(reversed(steps), reversed(taken), strict=True):
        chosen.append(int(choice[left]))
        left -= sizes[chosen[-1]]
    return chosen[::-1]


def allocate_uniform(modules: Sequence[Module], budget: float) -> tuple[Level, ...]:
    """The largest share of its groups that every module can keep within a budget, to compare with.

    Args:
        modules: each with at least one level.
        budget: the most that all costs may be together.

    Raises:
        UsageError: even the least levels cost more.
    """
    shares = {
        level.kept / max(other.kept for other in each.levels) for each in modules for level in each.levels
    }
    for share in sorted(shares, reverse=True):
        chosen = tuple(_nearest(each, share) for each in modules)
        if sum(level.cost for level in chosen) <= budget * (1 + 1e-9):
            return chosen
    raise UsageError(f"a budget of {budget:.4g} is out of reach", "ask for less")


def _nearest(module: Module, share: float) -> Level:
    whole = max(level.kept for level in module.levels)
    return min(module.levels, key=lambda level: (abs(level.kept - share * whole), level.kept))
