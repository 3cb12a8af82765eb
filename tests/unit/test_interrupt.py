"""Ctrl-C while the main thread is in native code, and what is held then."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from compiler.cli.interrupt import Watchdog
from targets.bundle.atomic_dir import staged_directory
from targets.temporary import held, remove_held, scratch_folder

ROOT = Path(__file__).resolve().parents[2]


def watch(watchdog: Watchdog, *numbers: int) -> None:
    """Gives a watchdog signals, and waits until it has dealt with them."""
    reader, writer = os.pipe()
    os.write(writer, bytes(numbers))
    os.close(writer)
    watchdog.watch(reader)
    os.close(reader)


def test_it_ends_what_does_not_answer() -> None:
    ended: list[bool] = []
    watch(Watchdog(lambda: ended.append(True), patience=0.0), signal.SIGINT)
    assert ended == [True]


def test_it_leaves_alone_what_answers() -> None:
    ended: list[bool] = []
    watchdog = Watchdog(lambda: ended.append(True), patience=0.0)
    with pytest.raises(KeyboardInterrupt):
        watchdog.handle(signal.SIGINT, None)
    watch(watchdog, signal.SIGINT)
    assert not ended
    watch(watchdog, signal.SIGINT)
    assert ended == [True], "each interrupt wants its own answer"


def test_other_signals_are_not_its_business() -> None:
    ended: list[bool] = []
    watch(Watchdog(lambda: ended.append(True), patience=0.0), signal.SIGCHLD, signal.SIGALRM)
    assert not ended


def alone(code: str) -> None:
    """Runs code that signals its process in one of its own: here all the runtimes are loaded."""
    text = textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_what_was_there_is_there_again() -> None:
    alone("""
        import signal, threading
        from compiler.cli.interrupt import Watchdog, watched

        signal.signal(signal.SIGINT, signal.default_int_handler)
        ended = []
        watchdog = Watchdog(lambda: ended.append(True), patience=60.0)
        with watched(watchdog):
            assert signal.getsignal(signal.SIGINT) == watchdog.handle
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError("the interrupt is lost")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert not [each for each in threading.enumerate() if each.name == "interrupts"]
        assert signal.set_wakeup_fd(-1) == -1
        assert not ended
    """)


def test_who_ignores_interrupts_goes_on_to() -> None:
    alone("""
        import signal
        from compiler.cli.interrupt import Watchdog, watched

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with watched(Watchdog(lambda: None)):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    """)


def test_what_is_held_can_be_removed_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with (
        scratch_folder("draft") as draft,
        staged_directory(tmp_path / "a.bundle", replace=False) as staging,
        held(tmp_path, "file-", Path.touch) as file,
    ):
        (staging / "model").write_bytes(b"half")
        (draft / "model").write_bytes(b"half")
        remove_held()
        assert not [each for each in (draft, staging, file) if each.exists()]
        staging.mkdir()
    assert [each.name for each in tmp_path.iterdir()] == ["a.bundle"]
    remove_held()
    assert (tmp_path / "a.bundle").is_dir(), "what was published is not held"


def test_what_could_not_be_made_is_not_held(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"), held(tmp_path, "n" * 300, Path.touch):
        pass
    with held(tmp_path, "file-", Path.touch) as file:
        remove_held()
        assert not file.exists()
