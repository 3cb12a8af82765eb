"""Who may change a folder of the emulators, and who runs programs from it.

Each has a lock file beside it, `.NAME.lock`. What makes, replaces or removes the folder is alone with it;
guests share it. The system gives a lock back when its process ends, however that is.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

from compiler.progress import Clock
from targets.errors import MissingBackendError, UsageError

GUEST_WAIT_S: Final = 30.0
"""How long a set-up or a removal waits for guests that run."""
SETUP_WAIT_S: Final = 600.0
"""How long a guest waits for a set-up that replaces what it runs from."""
_POLL_S: Final = 0.1
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def lock_path(folder: Path) -> Path:
    """The lock file of a folder."""
    return folder.with_name(f".{folder.name}.lock")


@contextmanager
def alone(folder: Path, clock: Clock) -> Iterator[None]:
    """Nobody else changes the folder or runs from it meanwhile.

    Waits for another set-up as long as that takes, and for guests `GUEST_WAIT_S`.

    Args:
        folder: that is there or will be; its parent is there.
        clock: told what is waited for.

    Raises:
        UsageError: a guest still runs.
        OSError: the lock file cannot be written.
    """
    descriptor = _taken(folder, fcntl.LOCK_EX)
    if descriptor is None:
        descriptor = _waited(folder, clock)
    with _held(folder, descriptor):
        yield


@contextmanager
def alone_at_once(folder: Path) -> Iterator[bool]:
    """As `alone`, without waiting: gives whether it is so."""
    descriptor = _taken(folder, fcntl.LOCK_EX)
    if descriptor is None:
        yield False
        return
    with _held(folder, descriptor):
        yield True


@contextmanager
def shared(folder: Path) -> Iterator[None]:
    """The folder stays as it is meanwhile; others may run from it too.

    A folder that is not there needs no lock, and one that is being made (its name begins with a dot) has
    that of its maker. Where no lock file can be written, nobody else can replace the folder either.

    Raises:
        MissingBackendError: it is being set up all the time.
    """
    if folder.name.startswith(".") or not folder.is_dir():
        yield
        return
    with ExitStack() as stack:
        descriptor = _shared(folder)
        if descriptor is not None:
            stack.callback(os.close, descriptor)
        yield


def _shared(folder: Path) -> int | None:
    end = time.monotonic() + SETUP_WAIT_S
    while True:
        try:
            descriptor = _taken(folder, fcntl.LOCK_SH)
        except OSError:
            return None
        if descriptor is not None:
            return descriptor
        if time.monotonic() >= end:
            raise MissingBackendError(
                f"{folder} is being set up by another process", "try again when that has ended"
            )
        time.sleep(_POLL_S)


def _waited(folder: Path, clock: Clock) -> int:
    """The lock, once whoever has it gives it back: set-ups first, then guests."""
    while True:
        guests = _has_guests(folder)
        with clock.stage("waiting for running guests" if guests else "waiting for another set-up"):
            end = time.monotonic() + GUEST_WAIT_S
            while True:
                descriptor = _taken(folder, fcntl.LOCK_EX)
                if descriptor is not None:
                    return descriptor
                if _has_guests(folder) is not guests:
                    break
                if guests and time.monotonic() >= end:
                    raise UsageError(
                        f"a program still runs from {folder}",
                        "try again when what is emulated has ended: a validation, or `bertc emulator run`",
                    )
                time.sleep(_POLL_S)


def _has_guests(folder: Path) -> bool:
    """Whether a lock that is not to be had alone can be shared."""
    descriptor = _taken(folder, fcntl.LOCK_SH)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _taken(folder: Path, kind: int) -> int | None:
    """A descriptor that holds the lock, until it is closed; None where others have it."""
    path = lock_path(folder)
    while True:
        descriptor = os.open(path, _FLAGS, 0o600)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            # Some network file systems have no locks.
            return descriptor
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the file was not removed before it was locked."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False


@contextmanager
def _held(folder: Path, descriptor: int) -> Iterator[None]:
    """Gives the lock back in the end, without its file where the folder is not there."""
    try:
        yield
    finally:
        if not os.path.lexists(folder):
            lock_path(folder).unlink(missing_ok=True)
        os.close(descriptor)
