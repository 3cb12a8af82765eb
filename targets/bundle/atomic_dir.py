"""A directory that appears complete or not at all."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from targets.temporary import abandoned, held, holding, new_name, remove

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


@contextmanager
def staged_directory(output: Path, *, replace: bool) -> Iterator[Path]:
    """Give a new sibling directory, and rename it to `output` when the block ends without an exception.

    The sibling is named `.NAME.tmp-<pid>-<random>`. Whatever ends the block otherwise, Ctrl-C
    included, removes the sibling and the parents that were made for it. Siblings that killed
    processes left behind are removed first. What is written into it must be synced in the block.

    Args:
        output: the directory to make.
        replace: whether a directory that is there already is replaced. The two are exchanged in one
            step where the file system can, else the old one is moved aside and put back on failure.

    Raises:
        OSError: the file system refuses (full, read-only, `output` is there and `replace` is false).
    """
    made: list[Path] = []
    try:
        _make_parents(output.parent, made)
        remove_stale(output)
        with held(output.parent, sibling_prefix(output), Path.mkdir) as staging:
            yield staging
            sync_directory(staging)
            _publish(staging, output, replace=replace)
            # Before what was replaced is removed: else a power loss could leave neither whole.
            _sync_name(output, made)
    except BaseException:
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        raise


def remove_stale(output: Path) -> None:
    """Remove the siblings of `output`, folders and files, that killed processes left behind.

    A replacement that one left half done is undone.
    """
    for old in abandoned(output.parent, re.escape(sibling_prefix(output, "old"))):
        # Once it is being removed, it is not put back any more.
        old.rename(_sibling(output, "tmp") if os.path.lexists(output) else output)
    for staging in abandoned(output.parent, re.escape(sibling_prefix(output))):
        remove(staging)


def sibling_prefix(output: Path, kind: str = "tmp") -> str:
    """What names of siblings of `output` begin with: `tmp` for new ones, `old` for what is replaced."""
    return f".{output.name}.{kind}-"


def sync_directory(path: Path) -> None:
    """Wait until the entries of a directory are on the disk, where the file system can say so."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def sync_file_system(path: Path) -> None:
    """Wait until all that was written to the file system of a path is on the disk: for many files at once.

    Raises:
        OSError: not all of it can be written.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(path))
    finally:
        os.close(descriptor)


def _publish(staging: Path, output: Path, *, replace: bool) -> None:
    if not os.path.lexists(output):
        staging.rename(output)
    elif not replace:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(output))
    elif not _exchange(staging, output):
        _swap(staging, output)


def _swap(staging: Path, output: Path) -> None:
    """Exchange the two names in steps, between which there is nothing at `output` for a moment."""
    old = _sibling(output, "old")
    with holding(output):
        try:
            output.rename(old)
            staging.rename(output)
        finally:
            if os.path.lexists(old):
                old.rename(staging if os.path.lexists(output) else output)


def _sync_name(output: Path, made: list[Path]) -> None:
    """Wait until the names of `output` and of the parents that were made for it are on the disk."""
    try:
        for folder in (output, *made):
            sync_directory(folder.parent)
    except OSError as error:
        reason = error.strerror or error
        warnings.warn(f"{output} is complete, but a power loss now may undo it: {reason}", stacklevel=2)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    done = renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return bool(done == 0)


def _sibling(output: Path, kind: str) -> Path:
    return new_name(output.parent, sibling_prefix(output, kind))


def _make_parents(parent: Path, made: list[Path]) -> None:
    """Make the missing folders of a path, adding each to `made`, outermost first."""
    missing = []
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        made.append(folder)
