"""How much time is left of steps that take about the same time each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

KNOWN: Final = 0.05
"""Share of the steps after which it is known how long they take."""


@dataclass(slots=True)
class Pace:
    """The steps of a stage, or of its last part.

    Attributes:
        total: their number; None where it is not known.
        begin: when they began, in seconds of any clock.
        last: whether the stage ends with them.
        done: how many are done.
        at: when the last of those was.
        step: how many were done then.
    """

    total: int | None
    begin: float
    last: bool = True
    done: int = 0
    at: float = 0.0
    step: int = 0

    def advance(self, steps: int, now: float) -> None:
        """So many more are done."""
        self.done += steps
        self.step = steps
        self.at = now

    def left(self, now: float) -> float | None:
        """Seconds until all are done at the pace so far; None while nobody can know.

        It falls between two steps as well, by what a step as large as the last one takes at most.
        """
        if not self.last or not self.total or self.done < KNOWN * self.total:
            return None
        each = (self.at - self.begin) / self.done
        waited = min(now - self.at, each * self.step)
        return max(each * (self.total - self.done) - waited, 0.0)
