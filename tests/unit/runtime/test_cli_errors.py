from __future__ import annotations

import json

import click
import pytest

from targets.cli.options import print_json, print_text
from targets.cli_errors import main_guard
from targets.errors import (
    AccuracyGateError,
    BertcError,
    IncompatibleError,
    IntegrityError,
    InternalError,
    MissingBackendError,
    UnsupportedError,
    UsageError,
)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UsageError("wrong", "do this"), 2, "error: wrong\nhint: do this\n"),
        (UnsupportedError("wrong", ""), 3, "error: wrong\n"),
        (AccuracyGateError("wrong", "do"), 4, "error: wrong\nhint: do\n"),
        (IntegrityError("two\nlines \x1b[31m", "do"), 5, "error: two lines  [31m\nhint: do\n"),
        (IncompatibleError("wrong", "do"), 6, "error: wrong\nhint: do\n"),
        (MissingBackendError("wrong", "do"), 7, "error: wrong\nhint: do\n"),
        (InternalError("wrong", "do"), 1, "error: wrong\nhint: do\n"),
        (KeyboardInterrupt(), 130, "error: interrupted\n"),
        (ValueError("odd"), 1, "unexpected ValueError: odd"),
        (MemoryError(), 1, "out of memory"),
        (FileNotFoundError(2, "No such file", "/x"), 2, "error: /x: No such file"),
        (OSError(28, "No space left on device"), 1, "free some space"),
        (BrokenPipeError(), 0, ""),
    ],
)
def test_every_end_has_its_code(
    error: BaseException,
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("targets.cli_errors._silence_stdout", lambda: None)

    @click.command()
    def fails() -> None:
        raise error

    assert main_guard(fails, []) == code
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert message in err if isinstance(error, (ValueError, MemoryError, OSError)) else err == message
    monkeypatch.setenv("BERTC_DEBUG", "1")
    main_guard(fails, [])
    debug = capsys.readouterr().err
    assert ("Traceback" in debug) == (isinstance(error, Exception) and not isinstance(error, BrokenPipeError))
    assert isinstance(error, BertcError) or code in (0, 1, 2, 130)


def test_what_does_not_print_is_escaped_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    print_text("a\u202eb\x1b[2J\n\U000e0041 \u0645\u06cc\u200c\u062e")
    assert capsys.readouterr().out == "a\\u202eb\\u001b[2J\n\\udb40\\udc41 \u0645\u06cc\u200c\u062e\n"
    document = {"a\u202e": ["\x9b", "\u200c", "\xe9"]}
    for compact in (True, False):
        print_json(document, compact=compact)
        out = capsys.readouterr().out
        assert json.loads(out) == document
        assert all(line.isprintable() for line in out.splitlines())
        assert "\xe9" in out
