"""Files written below an open folder, whatever somebody makes of its path meanwhile."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from targets.bundle.digest import hashed
from targets.errors import IntegrityError

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_LINKS: Final = frozenset({errno.ELOOP, errno.ENOTDIR})


@contextmanager
def opened_folder(path: Path) -> Iterator[int]:
    """A descriptor of a folder, for `write_beneath`.

    Raises:
        IntegrityError: it is a link, or another thing.
        OSError: it cannot be opened.
    """
    with _refused_links():
        descriptor = os.open(path, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def write_beneath(root: int, path: str, chunks: Iterable[bytes]) -> tuple[int, str]:
    """Write a new file below an open folder through no link, and wait until it is on the disk.

    Args:
        root: a descriptor of the folder.
        path: relative to it, of plain names (see `check_relative_path`); its folders are made.
        chunks: its content.

    Returns:
        Its size in bytes, and the SHA-256 in hexadecimal of what was written.

    Raises:
        IntegrityError: one of its folders is a link by now.
        OSError: it cannot be written, or is there.
    """
    *folders, name = path.split("/")
    current = os.dup(root)
    try:
        with _refused_links():
            for folder in folders:
                with suppress(FileExistsError):
                    os.mkdir(folder, dir_fd=current)
                inner = os.open(folder, _FOLDER, dir_fd=current)
                os.close(current)
                current = inner
            descriptor = os.open(name, _NEW, 0o666, dir_fd=current)
        with os.fdopen(descriptor, "wb") as stream:
            found = hashed(chunks, stream.write)
            stream.flush()
            os.fsync(stream.fileno())
        _sync(current)
    finally:
        os.close(current)
    return found


def check_written(root: int, path: Path) -> None:
    """Check that an open folder still has its path.

    Raises:
        IntegrityError: somebody has put something else there.
    """
    with suppress(OSError):
        if os.path.samestat(os.fstat(root), os.lstat(path)):
            return
    raise _exchanged()


@contextmanager
def _refused_links() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _LINKS:
            raise _exchanged() from error
        raise


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise


def _exchanged() -> IntegrityError:
    return IntegrityError(
        "a folder was exchanged while it was written to", "use a folder that nobody else can write to"
    )
