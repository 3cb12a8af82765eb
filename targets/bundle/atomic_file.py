"""A file that is replaced whole or not at all."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from targets.bundle.atomic_dir import sync_directory
from targets.temporary import abandoned, held, remove


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file in place of what is there, on the disk when this returns.

    It is written as a sibling, `.NAME.part-<pid>-<random>`; those that killed processes left behind are
    removed first.

    Args:
        path: the file; its folder is there.
        data: the bytes.
        mode: permissions of a file that is complete; before, it is the user's alone.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    prefix = f".{path.name}.part-"
    for each in abandoned(path.parent, re.escape(prefix), stat.S_IFREG):
        remove(each)
    with held(path.parent, prefix, _make) as part:
        with part.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        part.replace(path)
    sync_directory(path.parent)


def _make(path: Path) -> None:
    path.touch(0o600, exist_ok=False)
