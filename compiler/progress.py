"""How a compile says what it is doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

Advance = Callable[[int], None]


def by_totals(advance: Advance) -> Callable[[int, int], None]:
    """What sessions report to, the steps done and their total, from what takes steps."""
    last = 0

    def report(done: int, total: int) -> None:
        del total
        nonlocal last
        advance(done - last)
        last = done

    return report


class Progress(Protocol):
    """Listens to the stages of a compile."""

    def start(self, stage: str, total: int | None) -> None:
        """A stage begins; `total` is its number of steps, None when that is not known."""

    def advance(self, steps: int) -> None:
        """Steps of the current stage are done."""

    def finish(self, seconds: float) -> None:
        """The current stage is done."""

    def warn(self, message: str) -> None:
        """Something that the user should know; the message names its consequence."""


class Silent:
    """Says nothing."""

    def start(self, stage: str, total: int | None) -> None:
        """Nothing."""

    def advance(self, steps: int) -> None:
        """Nothing."""

    def finish(self, seconds: float) -> None:
        """Nothing."""

    def warn(self, message: str) -> None:
        """A Python warning, so that a library user sees it."""
        import warnings

        warnings.warn(message, UserWarning, stacklevel=3)


class Noted:
    """Passes everything on, and keeps the warnings.

    Attributes:
        warnings: in the order given, each once.
    """

    def __init__(self, progress: Progress) -> None:
        """Passes on to `progress`."""
        self._progress = progress
        self.warnings: list[str] = []
        self.start = progress.start
        self.advance = progress.advance
        self.finish = progress.finish

    def warn(self, message: str) -> None:
        """Keeps the message and passes it on."""
        if message not in self.warnings:
            self.warnings.append(message)
        self._progress.warn(message)


class Clock:
    """Times stages and reports them.

    Attributes:
        progress: to report to; it keeps the warnings.
        seconds: by stage, in the order in which they began; a stage that is entered again adds up.
    """

    def __init__(self, progress: Progress) -> None:
        """Reports to `progress`."""
        self.progress = Noted(progress)
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Advance]:
        """Time what is inside; yields the function to call with the steps done.

        A stage that fails does not finish: the error is what the user should read.
        """
        import time

        begin = time.perf_counter()
        self.progress.start(name, total)
        yield self.progress.advance
        spent = time.perf_counter() - begin
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        self.progress.finish(spent)
