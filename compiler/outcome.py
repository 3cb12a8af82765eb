"""What was built for a target, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compiler.build import Candidate
from compiler.source import Source
from compiler.validate import Validation


@dataclass(frozen=True, slots=True)
class Outcome:
    """One artifact.

    Attributes:
        candidate: the artifact.
        validation: on the evaluation data; None where it was not run, or could not be.
        note: why it could not.
    """

    candidate: Candidate
    validation: Validation | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is to ship, if its validation has not failed.

    Attributes:
        source: what it was made of.
        validation: of the first outcome.
        outcomes: of everything that was built, the one to ship first, then the fastest first.
    """

    source: Source
    validation: Validation
    outcomes: Sequence[Outcome]

    @property
    def best(self) -> Candidate:
        """What is to ship."""
        return self.outcomes[0].candidate

    @property
    def candidates(self) -> list[Candidate]:
        """Everything that was built."""
        return [each.candidate for each in self.outcomes]
