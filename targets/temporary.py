"""Temporary files and folders of which nothing is left for ever, however their process ends.

SIGKILL and a power cut leave them behind. Their names carry the process id, for people; a lock, which the
system gives back when a process ends, says whether somebody still uses them. The id itself proves nothing: in
containers the next process often has the same one. Where the file system has no locks nothing is removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

_HELD: Final[dict[Path, None]] = {}
"""What `held` has given and not yet removed, for `remove_held`."""
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def scratch_folder(kind: str) -> Iterator[Path]:
    """A new folder in that of temporary files, for the user alone, removed at the end.

    Those that killed processes of this user left behind are removed first, of whatever kind.

    Args:
        kind: what it is for, one word in small letters.

    Raises:
        OSError: it cannot be made.
    """
    parent = Path(tempfile.gettempdir())
    for folder in abandoned(parent, "bertc-[a-z]+-"):
        # Everybody may write there: what others made is theirs.
        if folder.is_dir() and folder.stat().st_uid == os.geteuid():
            remove(folder)
    with held(parent, f"bertc-{kind}-", lambda path: path.mkdir(0o700)) as folder:
        yield folder


@contextmanager
def held(parent: Path, prefix: str, make: Callable[[Path], object]) -> Iterator[Path]:
    """Make something under a new name, which nobody takes for abandoned meanwhile.

    Args:
        parent: the folder.
        prefix: of the name.
        make: makes a file or a folder of the name it is given; fails where there is one.

    Yields:
        Its path. What has that name at the end is removed.
    """
    with ExitStack() as stack:
        while True:
            path = new_name(parent, prefix)
            stack.callback(_let_go, path)
            _HELD[path] = None
            make(path)
            if stack.enter_context(holding(path)):
                break
        try:
            yield path
        finally:
            _let_go(path)


def remove_held() -> None:
    """Removes what this process holds, before it ends without leaving its blocks."""
    for path in reversed(list(_HELD)):
        with suppress(OSError):
            _let_go(path)


def _let_go(path: Path) -> None:
    _HELD.pop(path, None)
    remove(path)


@contextmanager
def holding(path: Path) -> Iterator[bool]:
    """Nobody takes a file or a folder for abandoned meanwhile, whatever its name is by then.

    Yields:
        Whether it is there: another process may have removed it before it was held.
    """
    try:
        descriptor = os.open(path, _FLAGS)
    except FileNotFoundError:
        yield False
        return
    try:
        # Without locks (some network file systems) nobody else gets one either.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield _is_at(descriptor, path)
    finally:
        os.close(descriptor)


def abandoned(parent: Path, prefix: str) -> Iterator[Path]:
    """Files and folders made by `held` that nobody holds; nobody can while they are given.

    What cannot be opened is not given, be it of another user or gone by now.

    Args:
        parent: the folder; nothing is given where it cannot be read.
        prefix: of the names, a regular expression.
    """
    pattern = re.compile(prefix + "[0-9]+-[0-9a-f]+")
    try:
        names = sorted(name for name in os.listdir(parent) if pattern.fullmatch(name))
    except OSError:
        return
    for path in (parent / name for name in names):
        with _taken(path) as free:
            if free:
                yield path


def new_name(parent: Path, prefix: str) -> Path:
    """A name for `held`."""
    return parent / f"{prefix}{os.getpid()}-{os.urandom(4).hex()}"


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there, and warn where that fails."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
    if os.path.lexists(path):
        warnings.warn(f"{path} could not be removed: it goes on using disk space", stacklevel=2)


@contextmanager
def _taken(path: Path) -> Iterator[bool]:
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        yield False
        return
    try:
        mode = os.fstat(descriptor).st_mode
        ours = stat.S_ISDIR(mode) or stat.S_ISREG(mode)
        yield ours and _locks(descriptor) and _is_at(descriptor, path)
    finally:
        os.close(descriptor)


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    with suppress(OSError):
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    return False
