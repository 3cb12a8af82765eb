"""Set-ups, guests and removals beside one another."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from compiler.emulate import locks
from compiler.emulate.cpus import emulated_cpus
from compiler.emulate.locks import alone, alone_at_once, lock_path, shared
from compiler.emulate.qemu import guest_command
from compiler.emulate.removal import remove
from compiler.emulate.setup import set_up
from compiler.emulate.userland import Userland, qemu_folder
from compiler.progress import Clock
from targets.errors import MissingBackendError, UsageError
from tests.support.compiling import Recorder, bertc
from tests.support.emulators import Fakes, Locks, PinQemu

CPU = emulated_cpus()[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is set up."""
    path = tmp_path / "arm64-x"
    path.mkdir()
    return path


@contextmanager
def running(work: Callable[[], object]) -> Iterator[threading.Thread]:
    """Work beside the block, which has ended when the block has."""
    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(60)
    assert not thread.is_alive()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_second_set_up_waits_and_finds_it_ready(fakes: Fakes, lock: Locks) -> None:
    assert lock
    first, second = Recorder(), Recorder()
    made: list[Userland] = []
    reading = fakes.folder / "reading"
    release = fakes.folder / "release"
    slow = f"touch {reading}; while ! [ -e {release} ]; do sleep 0.05; done; exec {sys.executable}.real"
    for name in ("touch", "sleep"):
        (fakes.folder / "bin" / name).symlink_to(f"/bin/{name}")
    Path(sys.executable).rename(f"{sys.executable}.real")
    fakes.program("python", f'#!/bin/sh\n{slow} "$@"\n')
    with running(lambda: made.append(set_up("arm64", Clock(first)))):
        until(reading.exists)
        with running(lambda: made.append(set_up("arm64", Clock(second)))):
            until(lambda: "waiting for another set-up" in second.started)
            release.touch()
    assert made[0] == made[1]
    assert first.finished[-1] == "starting it"
    assert set(second.started) <= {"waiting for another set-up", "waiting for running guests"}
    assert len(fakes.said("apt-get", " download ")) == 1


def test_a_set_up_in_another_process_that_dies(folder: Path) -> None:
    code = f"""
import pathlib, time
from compiler.emulate.locks import alone
from compiler.progress import Clock, Silent
with alone(pathlib.Path({str(folder)!r}), Clock(Silent())):
    print("held", flush=True)
    time.sleep(60)
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with alone_at_once(folder) as free:
            assert not free
        other.kill()
    with alone_at_once(folder) as free:
        assert free


def test_guests_share_it(folder: Path) -> None:
    with shared(folder), shared(folder), alone_at_once(folder) as free:
        assert not free
    with alone_at_once(folder) as free:
        assert free


def test_replacing_waits_for_guests(folder: Path) -> None:
    progress = Recorder()
    held: list[bool] = []

    def replace() -> None:
        with alone(folder, Clock(progress)):
            held.append(True)

    with ExitStack() as stack:
        with shared(folder):
            stack.enter_context(running(replace))
            until(lambda: progress.started)
            assert held == []
        until(lambda: held)
    assert progress.finished[0] == "waiting for running guests"


def test_replacing_gives_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "GUEST_WAIT_S", 0.2)
    with (
        shared(folder),
        pytest.raises(UsageError, match=f"a program still runs from {folder}") as caught,
        alone(folder, Clock(Recorder())),
    ):
        raise AssertionError
    assert "try again" in caught.value.hint


def test_a_guest_waits_for_a_set_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "SETUP_WAIT_S", 0.2)
    with (
        alone(folder, Clock(Recorder())),
        pytest.raises(MissingBackendError, match="is being set up by another process"),
        shared(folder),
    ):
        raise AssertionError
    monkeypatch.setattr(locks, "SETUP_WAIT_S", 60)
    held: list[bool] = []

    def guest() -> None:
        with shared(folder):
            held.append(True)

    with ExitStack() as stack:
        with alone(folder, Clock(Recorder())):
            stack.enter_context(running(guest))
            time.sleep(0.2)
            assert held == []
        until(lambda: held)


def test_no_file_is_left_of_a_lock_on_nothing(folder: Path) -> None:
    with alone(folder, Clock(Recorder())):
        assert lock_path(folder).stat().st_mode & 0o777 == 0o600
        folder.rmdir()
    assert not lock_path(folder).exists()
    with shared(folder):
        assert not lock_path(folder).exists()
    with pytest.raises(ZeroDivisionError), alone(folder, Clock(Recorder())):
        raise ZeroDivisionError
    assert list(folder.parent.iterdir()) == []


def test_a_lock_whose_file_was_removed_is_taken_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking it: nobody else would see that file."""
    lock, kinds = fcntl.flock, []

    def late(descriptor: int, kind: int) -> None:
        if not kinds:
            lock_path(folder).unlink()
        kinds.append(kind)
        lock(descriptor, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    with alone(folder, Clock(Recorder())), alone_at_once(folder) as free:
        assert not free
    assert len(kinds) == 3


def test_a_folder_that_nobody_can_write_needs_no_lock(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with shared(folder):
            pass
        with pytest.raises(PermissionError), alone(folder, Clock(Recorder())):
            pass


def test_nothing_is_replaced_or_removed_under_a_guest(
    no_qemu: Fakes, lock: Locks, pin_qemu: PinQemu, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lock
    pin_qemu(no_qemu.has("qemu-user"))
    userland = set_up("arm64", Clock(Recorder()))
    monkeypatch.setattr(locks, "GUEST_WAIT_S", 0.2)
    with guest_command(CPU, userland, "onnxruntime", ["-c", ""]):
        for command in (("setup", "arm64", "--force"), ("remove", "arm64")):
            bertc("emulator", *command).fails(2, "a program still runs from", "try again")
        (qemu_folder() / "qemu-aarch64").unlink()
        bertc("emulator", "setup", "arm64").fails(2, f"a program still runs from {qemu_folder()}")
    set_up("arm64", Clock(Recorder()))
    assert remove("arm64", Clock(Recorder())) > 0
    with (
        pytest.raises(MissingBackendError, match="is not set up"),
        guest_command(CPU, userland, "onnxruntime", []),
    ):
        raise AssertionError
