"""Progress and summaries on a terminal."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from compiler.report.text import precision_rows, pruning_rows, reproduction_rows, validation_rows
from compiler.result import BundleResult, CompileResult
from targets.cli_errors import print_warning


class ConsoleProgress:
    """Bars with time left on a terminal, one line for each finished stage elsewhere.

    Args:
        bars: a started rich Progress, or None for plain lines.
        quiet: warnings only.
    """

    def __init__(self, bars: Progress | None, *, quiet: bool) -> None:
        """Listens to a compile."""
        self._bars = bars
        self._quiet = quiet
        self._stage = ""
        self._task: TaskID | None = None

    def start(self, stage: str, total: int | None) -> None:
        """Show a new bar."""
        self._stage = stage
        if self._bars is not None:
            self._task = self._bars.add_task(stage, total=total)

    def advance(self, steps: int) -> None:
        """Move the bar."""
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, steps)

    def finish(self, seconds: float) -> None:
        """Put a finished line in the bar's place."""
        if self._bars is not None and self._task is not None:
            self._bars.remove_task(self._task)
        if not self._quiet:
            line = f"{self._stage:<28} {seconds:6.1f} s"
            if self._bars is not None:
                self._bars.console.print(line, highlight=False)
            else:
                sys.stderr.write(line + "\n")
                sys.stderr.flush()

    def warn(self, message: str) -> None:
        """Print a warning above the bars."""
        if self._bars is not None:
            self._bars.console.print(f"warning: {message}", highlight=False, markup=False)
        else:
            print_warning(message)


@contextmanager
def console_progress(*, quiet: bool) -> Iterator[ConsoleProgress]:
    """Progress on stderr: bars where it is a terminal, lines where it is not, warnings only when quiet.

    Python's own warnings are shown in the same way.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        with _warnings_to(ConsoleProgress(None, quiet=quiet)) as progress:
            yield progress
        return
    columns = (TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        Progress(*columns, console=console, transient=True) as bars,
        _warnings_to(ConsoleProgress(bars, quiet=False)) as progress,
    ):
        yield progress


@contextmanager
def _warnings_to(progress: ConsoleProgress) -> Iterator[ConsoleProgress]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        progress.warn(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield progress


def print_summary(result: CompileResult) -> None:
    """The table at the end of a compile, to stdout."""
    console = Console(soft_wrap=True)
    for bundle in result.bundles:
        console.print(_table(bundle))
        console.print(f"{bundle.path}", highlight=False, markup=False)
        console.print(_next_step(bundle), highlight=False, markup=False)


def _next_step(bundle: BundleResult) -> str:
    if bundle.emulation is not None and bundle.validation.evidence == "simulated":
        return f"try: bertc validate {bundle.path} --eval-data FILE --emulate {bundle.emulation}"
    if bundle.runs_here:
        return f'try: bertc run {bundle.path} --text "..."'
    if bundle.emulation is None:
        return "it runs on its device alone; there: bertc check-device, selftest, validate"
    return f'try: bertc emulator run {bundle.emulation} run {bundle.path} --text "..."'


def _table(bundle: BundleResult) -> Table:
    table = Table(show_header=False, title=f"{bundle.path.name}", title_justify="left", min_width=60)
    table.add_column(style="bold")
    table.add_column()
    ratio = bundle.source_bytes / max(bundle.model_bytes, 1)
    table.add_row("target", f"{bundle.target}, {bundle.precision} on {bundle.runtime}")
    table.add_row(
        "size",
        f"{bundle.source_bytes / 1e6:.1f} MB -> {bundle.model_bytes / 1e6:.1f} MB ({ratio:.1f}x smaller)",
    )
    for label, text in (
        *pruning_rows(bundle.pruning),
        *precision_rows(bundle.quantization),
        *validation_rows(bundle.validation),
        *reproduction_rows(bundle.reproduces, bundle.differences),
    ):
        table.add_row(label, text)
    for each in bundle.candidates:
        if each["p50_ms"]:
            times = ", ".join(f"{shape}: {median:.1f} ms" for shape, median in each["p50_ms"].items())
            chosen = " (chosen)" if each["runtime"] == bundle.runtime else ""
            table.add_row(f"latency, {each['runtime']}", f"{times}{chosen}")
    table.add_row("time", f"{sum(bundle.seconds.values()):.0f} s")
    return table
