"""The user's own folder of emulators, from which native code runs: nobody else may write to it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from targets.errors import IntegrityError, UsageError
from targets.runtime.cache import cache_folder

_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
_BLOCK: Final = 512
"""Bytes of one unit of st_blocks."""


def emulators_folder() -> Path:
    """Where userlands and QEMU have their places, in the user's cache folder."""
    return cache_folder("emulators")


def make_emulators_folder() -> Path:
    """That folder, made for the user alone where it is not there.

    Raises:
        UsageError: it cannot be made.
        IntegrityError: others can write to it.
    """
    folder = emulators_folder()
    with writing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    problem = _untrusted(folder)
    if problem is not None:
        raise problem
    return folder


def untrusted(folder: Path) -> IntegrityError | None:
    """Why programs are not run from a folder of `emulators_folder`; None where they are, or it is not there.

    It and its parent must be the user's own, and not writable by group or others.
    """
    return _untrusted(folder.parent) or _untrusted(folder)


def _untrusted(folder: Path) -> IntegrityError | None:
    try:
        found = folder.stat()
    except OSError:
        return None
    if found.st_uid != os.geteuid():
        return IntegrityError(
            f"{folder} belongs to another user, so nothing is run from it",
            "set BERTC_CACHE_DIR to a folder of your own, or remove that one and set the emulator up again",
        )
    if found.st_mode & _OTHERS:
        return IntegrityError(
            f"{folder} can be written by other users, so nothing is run from it",
            f"run: chmod go-w {folder}, if nobody else wrote there; else remove it and set the emulator "
            "up again",
        )
    return None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What the file system refuses becomes an error that a user can act on.

    Raises:
        UsageError: in place of OSError.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {folder}: {error.strerror or error}", "set BERTC_CACHE_DIR to another folder"
        ) from error


def disk_size(folder: Path) -> int:
    """Bytes on the disk of everything below a folder; 0 where it is not there."""
    sizes: dict[tuple[int, int], int] = {}
    for place, _, names in os.walk(folder):
        for path in (place, *(os.path.join(place, name) for name in names)):
            with suppress(OSError):
                found = os.lstat(path)
                sizes[found.st_dev, found.st_ino] = found.st_blocks * _BLOCK
    return sum(sizes.values())
