"""A directory that appears complete or not at all."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_AT_FDCWD: Final = -100
_RENAME_EXCHANGE: Final = 2


@contextmanager
def staged_directory(output: Path, *, replace: bool) -> Iterator[Path]:
    """Give a new sibling directory, and rename it to `output` when the block ends without an exception.

    The sibling is named `.NAME.tmp-<pid>-<random>`. Whatever ends the block otherwise, Ctrl-C
    included, removes the sibling and the parents that were made for it. Siblings that killed
    processes left behind are removed first.

    Args:
        output: the directory to make.
        replace: whether a directory that is there already is replaced. The two are exchanged in one
            step where the file system can, else the old one is moved aside and put back on failure.

    Raises:
        OSError: the file system refuses (full, read-only, `output` is there and `replace` is false).
    """
    made: list[Path] = []
    staging = _sibling(output, "tmp")
    try:
        _make_parents(output.parent, made)
        remove_stale(output)
        staging.mkdir()
        with _locked(staging):
            yield staging
            sync_directory(staging)
            _publish(staging, output, replace=replace)
    except BaseException:
        _remove(staging)
        for folder in reversed(made):
            with suppress(OSError):
                folder.rmdir()
        raise
    _remove(staging)
    try:
        sync_directory(output.parent)
    except OSError as error:
        reason = error.strerror or error
        warnings.warn(f"{output} is complete, but a power loss now may undo it: {reason}", stacklevel=2)


def remove_stale(output: Path) -> None:
    """Remove the staging siblings of `output`, folders and files, whose process is dead.

    A replacement that such a process left half done is undone.
    """
    pattern = re.compile(re.escape(f".{output.name}.") + r"(tmp|old)-([0-9]{1,9})-[0-9a-f]+")
    for entry in sorted(output.parent.iterdir()):
        match = pattern.fullmatch(entry.name)
        if match is None or entry.is_symlink() or not (entry.is_dir() or entry.is_file()):
            continue
        if _alive(int(match[2])) or _is_locked(entry):
            continue
        if match[1] == "old" and not os.path.lexists(output):
            entry.rename(output)
        elif entry.is_file():
            entry.unlink(missing_ok=True)
        else:
            _remove(entry)


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


def _publish(staging: Path, output: Path, *, replace: bool) -> None:
    if not os.path.lexists(output):
        staging.rename(output)
    elif not replace:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(output))
    elif not _exchange(staging, output):
        _swap(staging, output)


def _swap(staging: Path, output: Path) -> None:
    old = _sibling(output, "old")
    try:
        output.rename(old)
        staging.rename(output)
    except BaseException:
        if old.exists() and not os.path.lexists(output):
            old.rename(output)
        raise
    _remove(old)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        warnings.warn(f"{folder} could not be removed: it goes on using disk space", stacklevel=2)


def _exchange(first: Path, second: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    done = renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE)
    return bool(done == 0)


def _sibling(output: Path, kind: str) -> Path:
    return output.with_name(f".{output.name}.{kind}-{os.getpid()}-{secrets.token_hex(4)}")


def _make_parents(parent: Path, made: list[Path]) -> None:
    """Make the missing folders of a path, adding each to `made`, outermost first."""
    missing = []
    while not parent.exists():
        missing.append(parent)
        parent = parent.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        made.append(folder)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _is_locked(path: Path) -> bool:
    """Whether a process, perhaps one of another container, still writes below the directory."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Without locks (some network file systems) the process id alone guards the directory.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)
