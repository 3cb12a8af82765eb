"""The bar over texts."""

from __future__ import annotations

import io
import sys

import pytest

from compiler.cli.text_progress import text_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_where_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with text_progress(quiet=False) as progress:
        assert progress is not None
        for done in (3, 3, 12):
            progress(done, 12)
    shown = sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert "texts" in shown
    assert "3/12" in shown
    assert "12/12" in shown


@pytest.mark.parametrize("quiet", [True, False])
def test_nothing_where_nobody_does(monkeypatch: pytest.MonkeyPatch, quiet: bool) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal() if quiet else io.StringIO())
    with text_progress(quiet=quiet) as progress:
        assert progress is None
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
