"""How a compile says what it is doing, without knowing who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Final, Protocol

from targets.runtime.items import TextItem, chunks

Advance = Callable[[int], None]
_CHARACTERS: Final = 4
"""Of a token; what a text costs is estimated before it is tokenized."""
_SPECIAL_TOKENS: Final = 2


def spread(advance: Advance, steps: int, work: float) -> Callable[[float], None]:
    """Steps in proportion to work, where the pieces are of different size.

    Args:
        advance: called with the steps that are reached; never with 0.
        steps: for all of the work.
        work: in any unit.

    Returns:
        What is called with the work of every piece.
    """
    done, told = 0.0, 0

    def report(piece: float) -> None:
        nonlocal done, told
        done += piece
        reached = min(round(steps * done / work), steps) if work > 0 else steps
        if reached > told:
            advance(reached - told)
            told = reached

    return report


def in_turn(report: Callable[[float], None], works: Iterable[float]) -> Advance:
    """What is called with 1 after every piece, whose works are known in their order."""
    left = iter(works)

    def advance(steps: int) -> None:
        for _ in range(steps):
            report(next(left, 0.0))

    return advance


def by_length(
    advance: Advance, items: Sequence[TextItem], longest: int | None = None
) -> Callable[[int, int], None]:
    """What sessions report to, from what takes as many steps as there are texts.

    A session runs the longest texts of each chunk first, and they take the most time.

    Args:
        advance: told of a text as soon as its share of all tokens is done.
        items: what the session is given.
        longest: tokens that are read of a text; None where all are.
    """

    def tokens(item: TextItem) -> float:
        texts = (item,) if isinstance(item, str) else item
        read = sum(map(len, texts)) / _CHARACTERS + _SPECIAL_TOKENS
        return read if longest is None else min(read, longest)

    order = (each for chunk in chunks(items) for each in sorted(map(tokens, chunk), reverse=True))
    reached = [0.0, *accumulate(order)]
    report = spread(advance, len(items), reached[-1])
    last = 0

    def run(done: int, total: int) -> None:
        del total
        nonlocal last
        report(reached[done] - reached[last])
        last = done

    return run


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

    def expect(self, total: int, *, last: bool) -> None:
        """A part of the current stage begins, of so many steps; `last` if none follows it."""

    def advance(self, steps: int) -> None:
        """Steps of the current stage are done."""

    def detail(self, message: str) -> None:
        """What only somebody who asks for more wants to read."""

    def finish(self, seconds: float) -> None:
        """The current stage is done."""

    def warn(self, message: str) -> None:
        """Something that the user should know; the message names its consequence."""


class Silent:
    """Says nothing."""

    def start(self, stage: str, total: int | None) -> None:
        """Nothing."""

    def expect(self, total: int, *, last: bool) -> None:
        """Nothing."""

    def advance(self, steps: int) -> None:
        """Nothing."""

    def detail(self, message: str) -> None:
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
        self.expect = progress.expect
        self.advance = progress.advance
        self.detail = progress.detail
        self.finish = progress.finish

    def warn(self, message: str) -> None:
        """Keeps the message and passes it on, unless it was given before."""
        if message not in self.warnings:
            self.warnings.append(message)
            self._progress.warn(message)


class Steps:
    """The steps of one stage; called with those that are done."""

    def __init__(self, progress: Progress) -> None:
        """Of the current stage of `progress`."""
        self._progress = progress

    def __call__(self, steps: int) -> None:
        """So many more are done."""
        self._progress.advance(steps)

    def expect(self, total: int, *, last: bool = True) -> None:
        """So many steps, of one kind, begin now.

        Args:
            total: their number.
            last: whether they end the stage; else nobody knows how much time is left of it.
        """
        self._progress.expect(total, last=last)


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
    def stage(self, name: str, total: int | None = None) -> Iterator[Steps]:
        """Time what is inside; yields what is called with the steps done.

        A stage that fails does not finish: the error is what the user should read.
        """
        import time

        begin = time.perf_counter()
        self.progress.start(name, total)
        yield Steps(self.progress)
        spent = time.perf_counter() - begin
        self.seconds[name] = self.seconds.get(name, 0.0) + spent
        self.progress.finish(spent)
