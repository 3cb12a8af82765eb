"""What a compile says: on a terminal, in a file, and with --json."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console
from rich.progress import Progress

from compiler.cli.bars import NAME, columns
from compiler.cli.console import ConsoleProgress, console_progress
from tests.support.compiling import Checkpoints, bertc

LONGEST = "timing heads and neurons on onnxruntime"
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Screen:
    """A terminal of some width; its bars are drawn when they are asked for."""

    def __init__(self, width: int, *, verbose: bool = False) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, width=width, force_terminal=True)
        self.bars = Progress(*columns(self.console), console=self.console, auto_refresh=False)
        self.progress = ConsoleProgress(self.bars, quiet=False, verbose=verbose)

    @property
    def bar(self) -> str:
        with self.console.capture() as captured:
            self.console.print(self.bars.get_renderable())
        return ANSI.sub("", captured.get())

    @property
    def printed(self) -> list[str]:
        return ANSI.sub("", self.file.getvalue()).splitlines()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_a_bar_is_one_line(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen(width)
    now = [100.0]
    monkeypatch.setattr("compiler.cli.bars.time.monotonic", lambda: now[0])
    screen.progress.start(LONGEST, 4)
    now[0] += 7200
    screen.progress.advance(1)
    (line,) = screen.bar.splitlines()
    assert line.startswith(LONGEST)
    assert " 25% " in line
    assert line.rstrip().endswith("6:00:00 left")
    assert len(line.rstrip()) <= width
    assert len(LONGEST) < NAME


def test_nothing_is_left_where_nobody_knows() -> None:
    screen = Screen(80)
    assert "starting" in screen.bar
    screen.progress.start("tracing", None)
    line = screen.bar
    assert "starting" not in line
    assert "0:00" in line
    assert "left" not in line
    assert "%" not in line
    screen.progress.expect(2, last=False)
    screen.progress.advance(1)
    assert "50%" in screen.bar
    assert "left" not in screen.bar
    screen.progress.expect(4, last=True)
    assert " 0%" in screen.bar, "a part begins anew"
    screen.progress.advance(1)
    assert "25%" in screen.bar
    assert "left" in screen.bar
    screen.progress.finish(1.25)
    assert not screen.bar.strip()
    assert screen.printed == [f"{'tracing':<{NAME}}    1.2 s"]


@pytest.mark.parametrize("verbose", [False, True])
def test_details_are_below_the_line_of_their_stage(verbose: bool) -> None:
    screen = Screen(60, verbose=verbose)
    screen.progress.start("reading the texts", None)
    long = "calibration: 300 of 60614 rows of [red]train.tsv\x1b[31m, " + "x" * 60
    screen.progress.detail(long)
    screen.progress.finish(0.5)
    screen.progress.detail("later")
    wanted = [f"{'reading the texts':<{NAME}}    0.5 s"]
    if verbose:
        wanted += ["  " + long.replace("\x1b", " "), "  later"]
    assert screen.printed == wanted


def test_lines_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with console_progress(quiet=False, verbose=True) as progress:
        progress.start("tracing", None)
        progress.expect(3, last=True)
        progress.advance(3)
        progress.detail("FuseAttention")
        progress.finish(2.0)
        progress.warn("nothing to compare with")
    found = capsys.readouterr()
    assert found.out == ""
    assert found.err == f"{'tracing':<{NAME}}    2.0 s\n  FuseAttention\nwarning: nothing to compare with\n"


def test_only_warnings_where_it_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with console_progress(quiet=True, verbose=True) as progress:
        progress.start("tracing", None)
        progress.detail("FuseAttention")
        progress.finish(2.0)
        progress.warn("nothing to compare with")
    assert capsys.readouterr().err == "warning: nothing to compare with\n"


def test_each_pass_is_told_with_its_counts(checkpoint: Checkpoints) -> None:
    model = checkpoint("bert", "text-classification")
    terse, told = bertc("inspect", model), bertc("inspect", model, "-v")
    assert terse.code == told.code == 0
    assert terse.out == told.out
    assert "FuseAttention" not in terse.err
    lines = told.err.splitlines()
    after = lines[next(n for n, line in enumerate(lines) if line.startswith("rewriting the graph")) + 1 :]
    (line,) = [each for each in after if "FuseAttention" in each]
    assert re.fullmatch(r"  FuseAttention +\d+\.\d ms  attention \d+", line)
    assert bertc("inspect", model, "-v", "--json").err == ""
