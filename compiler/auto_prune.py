"""`--prune auto` for one target: the fastest of a grid of budgets whose artifact holds the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Generic, TypeVar

from compiler.quantize.mixed import Gate
from compiler.validate import Validation

GRID: Final = (1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
"""Expected speed-ups to try."""
_TWO_SIDES: Final = 2 * 1.96
_DIGITS: Final = 4

Built = TypeVar("Built")


@dataclass(frozen=True, slots=True)
class Trial(Generic[Built]):
    """One budget.

    Attributes:
        times: the expected speed-up; 1 is the dense model.
        built: what was made for it; None for those that faster ones have replaced, but for the last two.
        held_out: on texts that neither pruning nor calibration saw.
        holds: whether the gate does, by a standard error of the difference.
    """

    times: float
    built: Built | None
    held_out: Validation | None
    holds: bool

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        found = self.held_out
        delta, agreement = (None, None) if found is None else (found.delta, found.agreement)
        return {
            "expected_speedup": self.times,
            "delta": None if delta is None else round(delta, _DIGITS),
            "agreement": None if agreement is None else round(agreement, _DIGITS),
            "holds": self.holds,
        }


def walk_down(
    grid: Sequence[float],
    reach: float,
    attempt: Callable[[float], tuple[Built, Validation | None]],
    gate: Gate,
) -> list[Trial[Built]]:
    """Budgets in turn, from the dense model on, until one does not hold.

    Args:
        grid: expected speed-ups above 1, ascending.
        reach: the largest that the table promises.
        attempt: prunes, compiles and runs the held-out texts for a speed-up; 1 is the dense model.
        gate: what must hold.

    Returns:
        Every trial in the order made; the first is the dense model, at most the last does not hold.
    """
    trials: list[Trial[Built]] = []
    for times in (1.0, *(each for each in grid if each <= reach)):
        built, found = attempt(times)
        trials.append(Trial(times, built, found, times == 1.0 or holds_surely(gate, found)))
        if not trials[-1].holds:
            break
        trials[1:-2] = [replace(each, built=None) for each in trials[1:-2]]
    return trials


def holds_surely(gate: Gate, found: Validation | None) -> bool:
    """Whether a gate holds by a standard error of the difference, taken from its 95% interval.

    The fastest of many that hold is the one that chance has favoured, and the texts to come will not.
    """
    if found is None or not gate.holds(found):
        return False
    if found.delta is None or found.ci95 is None:
        return True
    low, high = found.ci95
    return gate.holds(replace(found, delta=found.delta - (high - low) / _TWO_SIDES))


def tried(trials: Sequence[Trial[Any]]) -> tuple[Mapping[str, Any], ...]:
    """The trials as the manifest records them."""
    return tuple(each.to_json() for each in trials)
