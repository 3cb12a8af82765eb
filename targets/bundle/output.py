"""Where a bundle or an archive is written, checked before the work; and its files, synced and hashed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from targets.bundle.atomic_dir import remove_stale
from targets.bundle.digest import hashed
from targets.bundle.paths import MANIFEST_NAME
from targets.errors import UsageError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def check_output(output: Path, *, force: bool = False) -> None:
    """Fail before the work is done where writing a bundle would fail after it.

    What killed runs left beside the output is removed, and a replacement that one left half done is undone.

    Args:
        output: the bundle's folder.
        force: whether a bundle that is there may be replaced.

    Raises:
        UsageError: something is there and `force` is false, what is there is no bundle, or the
            folder above cannot be written to.
    """
    if not output.name or output.name == "..":
        raise UsageError(f"{output} cannot be the name of a bundle", "pass a folder's name with -o")
    try:
        remove_stale(output)
        if os.path.lexists(output):
            _check_existing(output, force=force)
        folder = output.parent
        while not os.path.lexists(folder):
            folder = folder.parent
    except OSError as error:
        raise cannot_write(output, error) from error
    if not folder.is_dir():
        raise UsageError(f"cannot write {output}: {folder} is not a folder", "pass another folder with -o")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {output}: {folder} is read-only", "pass another folder with -o")


def write_file(path: Path, chunks: Iterable[bytes]) -> tuple[int, str]:
    """Write a new file and wait until it is on the disk.

    Args:
        path: of a file that is not there; its folders are made.
        chunks: its content.

    Returns:
        Its size in bytes, and the SHA-256 in hexadecimal of what was written.

    Raises:
        OSError: it cannot be written, or is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as stream:
        found = hashed(chunks, stream.write)
        stream.flush()
        os.fsync(stream.fileno())
    return found


def cannot_write(output: Path, error: OSError) -> UsageError:
    """The error of an output that the file system refuses."""
    full = error.errno in _FULL
    hint = "free some space there" if full else "make it writable"
    return UsageError(
        f"cannot write {output}: {error.strerror or error}", f"{hint}, or pass another place with -o"
    )


def _check_existing(output: Path, *, force: bool) -> None:
    if not force:
        raise UsageError(f"{output} exists already", "pass --force to replace it, or another folder with -o")
    if output.is_symlink() or not output.is_dir():
        raise UsageError(f"{output} is not a folder, and is not replaced", "pass another folder with -o")
    if not (output / MANIFEST_NAME).is_file() and any(output.iterdir()):
        raise UsageError(
            f"{output} holds files but no {MANIFEST_NAME}, and is not replaced", "pass another folder with -o"
        )
