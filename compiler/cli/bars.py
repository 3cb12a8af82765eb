"""The bar of a stage on a terminal."""

from __future__ import annotations

import time
from typing import Final

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.spinner import Spinner
from rich.text import Text

from compiler.cli.pace import Pace

NAME: Final = 40
"""Columns of a stage's name."""
_OTHERS: Final = NAME + 30
_LEAST, _MOST = 8, 30


class Bar:
    """One bar, for one stage after the other.

    Args:
        bars: a started rich Progress with the columns of `columns`.
    """

    def __init__(self, bars: Progress) -> None:
        """Shows nothing yet."""
        self._bars = bars
        self._task: TaskID | None = None
        self._pace = Pace(None, 0.0)

    def start(self, stage: str, total: int | None) -> None:
        """A new bar, or a spinner where the number of steps is not known."""
        self.clear()
        self._pace = Pace(total, time.monotonic())
        self._task = self._bars.add_task(stage, total=total, pace=self._pace)

    def expect(self, total: int, *, last: bool) -> None:
        """The same stage from the start of a part on, its time going on."""
        if self._task is not None:
            self._pace = Pace(total, time.monotonic(), last)
            self._bars.update(self._task, total=total, completed=0, pace=self._pace)

    def advance(self, steps: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._pace.advance(steps, time.monotonic())
            self._bars.advance(self._task, steps)

    def clear(self) -> None:
        """Take it away."""
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None


def columns(console: Console) -> tuple[ProgressColumn, ...]:
    """Name, bar and percent or a spinner, time so far, and time left where it is known."""
    width = min(max(console.width - _OTHERS, _LEAST), _MOST)
    name = TextColumn(f"{{task.description:<{NAME}}}", markup=False)
    return name, _BarOrSpinner(bar_width=width), _Percent(), _Elapsed(), _Left()


class _BarOrSpinner(BarColumn):
    def __init__(self, bar_width: int) -> None:
        super().__init__(bar_width=bar_width)
        self._spinner = Spinner("dots")

    def render(self, task: Task) -> RenderableType:  # type: ignore[override]
        return self._spinner.render(task.get_time()) if task.total is None else super().render(task)


class _Percent(ProgressColumn):
    def render(self, task: Task) -> Text:
        # No more than 99: the end of a stage is its line, and steps may end before the stage does.
        return Text("" if task.total is None else f"{min(int(task.percentage), 99):>3}%")


class _Elapsed(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{clock(task.elapsed or 0.0):>7}", style="progress.elapsed")


class _Left(ProgressColumn):
    def render(self, task: Task) -> Text:
        left = task.fields["pace"].left(time.monotonic())
        return Text("" if left is None else f"{clock(left):>7} left", style="progress.remaining")


def clock(seconds: float) -> str:
    """Minutes and seconds, hours where there are some."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
