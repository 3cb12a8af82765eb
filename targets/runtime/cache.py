"""Files in the user's own cache folder that native code will read.

Whoever can write to that folder could replace them. So nothing is cached there unless the caller asks for it,
files are the user's alone, and a bundle never brings any.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from pathlib import Path
from typing import Final

from targets.bundle.atomic_file import staged_file

MAX_BYTES: Final = 4 * 1024**3
_PART: Final = ".part"
_DAY: Final = 86_400
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def cache_folder(kind: str) -> Path:
    """`kind` in `BERTC_CACHE_DIR`, else in `bertc` in `XDG_CACHE_HOME`, else in `~/.cache/bertc`."""
    own = os.environ.get("BERTC_CACHE_DIR", "")
    if own:
        return Path(own) / kind
    shared = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(shared) if Path(shared).is_absolute() else Path.home() / ".cache") / "bertc" / kind


def read_own(path: Path) -> bytes | None:
    """A file's bytes; None if it is not there, or is not the user's alone to write."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or shared:
            return None
        if found.st_size > MAX_BYTES:
            return None
        with contextlib.suppress(OSError):
            return stream.read()
    return None


def write_own(path: Path, data: bytes) -> None:
    """Writes a file, whole or not at all, into a folder that is made for the user alone.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with staged_file(path, replace=True, mode=0o600) as stream:
        stream.write(data)


def forget_oldest(folder: Path, suffix: str, kept: int) -> None:
    """Removes all but the newest files of a suffix, and what killed processes left half-written a day ago.

    Other processes may do the same at the same time.
    """
    found = sorted(folder.glob(f"*{suffix}"), key=_written, reverse=True)
    left = [path for path in folder.glob(f".*{_PART}") if time.time() - _written(path) > _DAY]
    for path in (*found[kept:], *left):
        path.unlink(missing_ok=True)


def _written(path: Path) -> float:
    """When a file was written; long ago where another process has removed it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
