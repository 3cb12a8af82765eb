"""Which paths a bundle may hold, and how they are opened without following anything."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from targets.errors import IntegrityError

MANIFEST_NAME: Final = "bundle.json"
SUMS_NAME: Final = "SHA256SUMS"
SIGNATURE_NAME: Final = "bundle.json.sig"

MAX_PATH: Final = 240
MAX_DEPTH: Final = 8
SEGMENT: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")

_AGAIN: Final = "copy the bundle again from where it was compiled"


def check_relative_path(path: str) -> None:
    """Accept only a relative POSIX path of plain names.

    Every segment matches `SEGMENT` and does not end in a dot: no `..`, no absolute path, no
    backslash, no drive, no hidden file, nothing that a shell or another system reads otherwise.

    Raises:
        IntegrityError: anything else.
    """
    if len(path) > MAX_PATH:
        raise IntegrityError(f"a path of {len(path)} characters is longer than {MAX_PATH}", _AGAIN)
    segments = path.split("/")
    if len(segments) > MAX_DEPTH:
        raise IntegrityError(f"path {path!r} is deeper than {MAX_DEPTH} folders", _AGAIN)
    for segment in segments:
        if not SEGMENT.fullmatch(segment) or segment.endswith("."):
            raise IntegrityError(f"path {path!r} is not a plain relative path", _AGAIN)


def check_tree(paths: Iterable[str]) -> None:
    """Reject sets of paths that no file system, or not every one, can hold.

    Raises:
        IntegrityError: a path twice, two paths or folders that differ only in upper and lower
            case, or a file that is also a folder.
    """
    spelled: dict[str, str] = {}
    files: set[str] = set()
    folders: set[str] = set()
    for path in paths:
        check_relative_path(path)
        if path in files:
            raise IntegrityError(f"path {path!r} is listed twice", _AGAIN)
        files.add(path)
        segments = path.split("/")
        for end in range(1, len(segments) + 1):
            prefix = "/".join(segments[:end])
            twin = spelled.setdefault(prefix.casefold(), prefix)
            if twin != prefix:
                raise IntegrityError(f"paths {twin!r} and {prefix!r} differ only in case", _AGAIN)
            if end < len(segments):
                folders.add(prefix)
    both = sorted(files & folders)
    if both:
        raise IntegrityError(f"path {both[0]!r} is a file and a folder", _AGAIN)


def walk_bundle(root: Path, sizes: Mapping[str, int]) -> None:
    """Compare the files below `root` with those a manifest lists.

    Args:
        root: the bundle's folder.
        sizes: bytes of each listed file, by path; bundle.json and SHA256SUMS are expected beside them, and
            there may be a signature.

    Raises:
        IntegrityError: a symbolic or hard link, a device, socket or fifo, a file or folder that is
            not listed, a listed file that is missing or of another size.
    """
    expected: dict[str, int | None] = {MANIFEST_NAME: None, SUMS_NAME: None, SIGNATURE_NAME: None, **sizes}
    folders = {path[:i] for path in expected for i, char in enumerate(path) if char == "/"}
    seen: set[str] = set()
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if _check_entry(path, entry, expected, folders):
                        pending.append(path)
                    else:
                        seen.add(path)
        except OSError as error:
            raise IntegrityError(f"cannot list {folder or 'the bundle'}: {error.strerror}", _AGAIN) from error
    missing = sorted(set(expected) - seen - {SIGNATURE_NAME})
    if missing:
        raise IntegrityError(f"{missing[0]} is missing", _AGAIN)


def _check_entry(
    path: str, entry: os.DirEntry[str], expected: Mapping[str, int | None], folders: set[str]
) -> bool:
    """Whether the entry is a folder that belongs to the bundle."""
    info = entry.stat(follow_symlinks=False)
    check_regular(path, info, folder=path in folders)
    if stat.S_ISDIR(info.st_mode):
        if path not in folders:
            raise IntegrityError(f"folder {path!r} is not in the manifest", _AGAIN)
        return True
    if path not in expected:
        raise IntegrityError(f"file {path!r} is not in the manifest", "remove it, or copy the bundle again")
    size = expected[path]
    if size is not None and info.st_size != size:
        raise IntegrityError(f"{path} has {info.st_size} bytes, the manifest says {size}", _AGAIN)
    return False


def check_regular(path: str, info: os.stat_result, *, folder: bool = False) -> None:
    """Accept a folder, or a regular file that has one name.

    Raises:
        IntegrityError: a link, a special file, a file where a folder must be.
    """
    if stat.S_ISLNK(info.st_mode):
        raise IntegrityError(f"{path!r} is a symbolic link", "copy the bundle with its links resolved")
    if stat.S_ISDIR(info.st_mode):
        return
    if not stat.S_ISREG(info.st_mode):
        raise IntegrityError(f"{path!r} is not a regular file", _AGAIN)
    if folder:
        raise IntegrityError(f"{path!r} must be a folder", _AGAIN)
    if info.st_nlink != 1:
        raise IntegrityError(f"{path!r} is a hard link", "copy the bundle without links (cp -r)")


def open_beneath(root: Path, path: str) -> int:
    """Open a file of the bundle for reading, following no link on the way below `root`.

    Returns:
        A file descriptor of a regular file; the caller closes it.

    Raises:
        IntegrityError: it is missing, a link, or not a regular file.
    """
    check_relative_path(path)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    *folders, name = path.split("/")
    try:
        current = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                inner = os.open(folder, flags | os.O_DIRECTORY, dir_fd=current)
                os.close(current)
                current = inner
            descriptor = os.open(name, flags, dir_fd=current)
        finally:
            os.close(current)
    except OSError as error:
        raise IntegrityError(f"cannot open {path}: {error.strerror}", _AGAIN) from error
    try:
        info = os.fstat(descriptor)
        check_regular(path, info)
        if stat.S_ISDIR(info.st_mode):
            raise IntegrityError(f"{path!r} is a folder", _AGAIN)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
