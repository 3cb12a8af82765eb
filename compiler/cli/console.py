"""Progress and summaries on a terminal."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from compiler.cli.bars import NAME, Bar, columns
from compiler.report.files import PAGE
from compiler.report.text import (
    precision_rows,
    pruning_rows,
    reproduction_rows,
    speedup_text,
    validation_rows,
)
from compiler.result import BundleResult, CompileResult
from targets.cli_errors import print_warning, printable

_NO_END: Final = 10_000
_STARTING: Final = "starting"
_PLAIN: Final[dict[str, Any]] = {"highlight": False, "markup": False, "soft_wrap": True}


class ConsoleProgress:
    """A bar with the time left on a terminal, one line for each finished stage elsewhere.

    Args:
        bars: a started rich Progress with the columns of `compiler.cli.bars`, or None for plain lines.
        quiet: warnings only.
        verbose: details as well.
    """

    def __init__(self, bars: Progress | None, *, quiet: bool, verbose: bool = False) -> None:
        """Listens to a compile; until its first stage it says that it starts."""
        self._console = None if bars is None else bars.console
        self._bar = None if bars is None else Bar(bars)
        self._quiet = quiet
        self._verbose = verbose and not quiet
        self._stage = ""
        self._details: list[str] = []
        if self._bar is not None:
            self._bar.start(_STARTING, None)

    def start(self, stage: str, total: int | None) -> None:
        """Show a new bar."""
        self._stage = stage
        if self._bar is not None:
            self._bar.start(stage, total)

    def expect(self, total: int, *, last: bool) -> None:
        """Begin the bar anew."""
        if self._bar is not None:
            self._bar.expect(total, last=last)

    def advance(self, steps: int) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.advance(steps)

    def finish(self, seconds: float) -> None:
        """Put a finished line in the bar's place, and below it what was said of the stage meanwhile."""
        if self._bar is not None:
            self._bar.clear()
        self._say(f"{self._stage:<{NAME}} {seconds:6.1f} s")
        self._stage = ""
        details, self._details = self._details, []
        for each in details:
            self.detail(each)

    def detail(self, message: str) -> None:
        """Print it, indented below the line of its stage."""
        if not self._verbose:
            return
        if self._stage:
            self._details.append(message)
        else:
            self._say(f"  {printable(message)}")

    def warn(self, message: str) -> None:
        """Print a warning above the bars."""
        if self._console is not None:
            self._console.print(
                f"warning: {printable(message)}", highlight=False, markup=False, soft_wrap=True
            )
        else:
            print_warning(message)

    def _say(self, line: str) -> None:
        if self._quiet:
            return
        if self._console is not None:
            self._console.print(line, **_PLAIN)
        else:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


@contextmanager
def console_progress(*, quiet: bool, verbose: bool = False) -> Iterator[ConsoleProgress]:
    """Progress on stderr: bars where it is a terminal, lines where it is not, warnings only when quiet.

    Python's own warnings are shown in the same way.
    """
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        with _warnings_to(ConsoleProgress(None, quiet=quiet, verbose=verbose)) as progress:
            yield progress
        return
    with (
        Progress(*columns(console), console=console, transient=True) as bars,
        _warnings_to(ConsoleProgress(bars, quiet=False, verbose=verbose)) as progress,
    ):
        yield progress


@contextmanager
def _warnings_to(progress: ConsoleProgress) -> Iterator[ConsoleProgress]:
    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        progress.warn(str(message))

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield progress


def print_summary(result: CompileResult, console: Console | None = None) -> None:
    """The table at the end of a compile, to stdout.

    Args:
        result: of the compile.
        console: None for stdout: lines as long as they are, but on a terminal, whose width they keep to.
    """
    if console is None:
        console = Console(soft_wrap=True)
        if not console.is_terminal:
            console.width = _NO_END
    for bundle in result.bundles:
        console.print(_table(bundle))
        console.print(f"{bundle.path}", highlight=False, markup=False)
        if bundle.reported:
            console.print(f"report: {bundle.path / 'report' / PAGE}", highlight=False, markup=False)
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
    name = Text(printable(bundle.path.name))
    table = Table(show_header=False, title=name, title_justify="left", min_width=60)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for label, text in _rows(bundle):
        table.add_row(label, Text(text))
    return table


def _rows(bundle: BundleResult) -> Iterator[tuple[str, str]]:
    ratio = bundle.source_bytes / max(bundle.model_bytes, 1)
    sizes = f"{bundle.source_bytes / 1e6:.1f} MB -> {bundle.model_bytes / 1e6:.1f} MB"
    yield "target", f"{bundle.target}, {bundle.precision} on {bundle.runtime}"
    yield "size", f"{sizes} ({ratio:.1f}x smaller)"
    yield from (
        *pruning_rows(bundle.pruning),
        *precision_rows(bundle.quantization),
        *validation_rows(bundle.validation),
        *reproduction_rows(bundle.reproduces, bundle.differences),
    )
    for each in bundle.candidates:
        if each["p50_ms"]:
            times = ", ".join(f"{shape}: {median:.1f} ms" for shape, median in each["p50_ms"].items())
            chosen = " (chosen)" if each["runtime"] == bundle.runtime else ""
            yield f"latency, {each['runtime']}", f"{times}{chosen}"
    if bundle.timing is not None:
        yield "speed-up", speedup_text(bundle.timing)
    yield "time", f"{sum(bundle.seconds.values()):.0f} s"
