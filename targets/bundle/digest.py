"""Hashes of files and of a bundle's content; what is hashed is what is returned."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Final

from targets.bundle.paths import MANIFEST_NAME, open_beneath
from targets.bundle.schema import FileEntry
from targets.bundle.strict_json import canonical_json
from targets.errors import IntegrityError

DIGEST_ROLES: Final = frozenset({"model", "tokenizer", "selftest"})

_CHUNK: Final = 1 << 20
_AGAIN: Final = "copy the bundle again from where it was compiled"


def sha256_file(path: Path) -> str:
    """SHA-256 of a file in hexadecimal, read in chunks.

    Raises:
        OSError: unreadable, or a symbolic link.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def content_digest(files: Iterable[FileEntry]) -> str:
    """Digest of what a bundle computes with: its model, tokenizer and self-test files.

    The SHA-256 of the canonical JSON list, sorted by path, of {"path", "sha256", "size"}.

    Returns:
        "sha256:" and 64 hexadecimal digits.
    """
    content = [
        {"path": entry.path, "size": entry.size, "sha256": entry.sha256}
        for entry in sorted(files, key=lambda entry: entry.path)
        if entry.role in DIGEST_ROLES
    ]
    return "sha256:" + hashlib.sha256(canonical_json(content)).hexdigest()


def sums_file(manifest: bytes, files: Iterable[FileEntry]) -> bytes:
    """SHA256SUMS as `sha256sum -c` reads it: bundle.json and every file, sorted by path."""
    sums = {entry.path: entry.sha256 for entry in files}
    sums[MANIFEST_NAME] = hashlib.sha256(manifest).hexdigest()
    return "".join(f"{sums[path]}  {path}\n" for path in sorted(sums)).encode("ascii")


def read_bounded(root: Path, path: str, limit: int) -> bytes:
    """Read a small file of a bundle.

    Raises:
        IntegrityError: missing, a link, not a regular file, or larger than `limit` bytes.
    """
    with _open(root, path) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise IntegrityError(f"{path} is larger than {limit} bytes", _AGAIN)
    return data


def read_verified(root: Path, path: str, size: int, sha256: str) -> bytes:
    """Read a file of a bundle and hash the very bytes that are returned.

    Args:
        root: the bundle's folder.
        path: relative to it; no link is followed below `root`.
        size: expected bytes.
        sha256: expected hash in hexadecimal.

    Raises:
        IntegrityError: missing, a link, not a regular file, or other bytes than expected.
    """
    with _open(root, path) as stream:
        _check_size(path, os.fstat(stream.fileno()).st_size, size)
        data = stream.read(size + 1)
    _check_size(path, len(data), size)
    _check_hash(path, hashlib.sha256(data).hexdigest(), sha256)
    return data


def check_file(root: Path, entry: FileEntry) -> None:
    """Hash a listed file without holding it in memory.

    Raises:
        IntegrityError: missing, a link, not a regular file, or other bytes than listed.
    """
    with _open(root, entry.path) as stream:
        _check_size(entry.path, os.fstat(stream.fileno()).st_size, entry.size)
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    _check_hash(entry.path, found, entry.sha256)


def verified_chunks(root: Path, entry: FileEntry) -> Iterator[bytes]:
    """A listed file in chunks; the error comes after the last one where the bytes are others than listed.

    Raises:
        IntegrityError: as for `check_file`.
    """
    digest, size = hashlib.sha256(), 0
    with _open(root, entry.path) as stream:
        _check_size(entry.path, os.fstat(stream.fileno()).st_size, entry.size)
        while chunk := stream.read(min(_CHUNK, entry.size + 1 - size)):
            digest.update(chunk)
            size += len(chunk)
            yield chunk
    _check_size(entry.path, size, entry.size)
    _check_hash(entry.path, digest.hexdigest(), entry.sha256)


def hashed(chunks: Iterable[bytes], write: Callable[[bytes], object]) -> tuple[int, str]:
    """Pass chunks on, and give their total size and SHA-256 in hexadecimal."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        write(chunk)
    return size, digest.hexdigest()


@contextmanager
def _open(root: Path, path: str) -> Iterator[BufferedReader]:
    try:
        with os.fdopen(open_beneath(root, path), "rb") as stream:
            yield stream
    except OSError as error:
        raise IntegrityError(f"cannot read {path}: {error.strerror or error}", _AGAIN) from error


def _check_size(path: str, found: int, expected: int) -> None:
    if found != expected:
        raise IntegrityError(f"{path} has {found} bytes, the manifest says {expected}", _AGAIN)


def _check_hash(path: str, found: str, expected: str) -> None:
    if found != expected:
        raise IntegrityError(f"{path} is not what the manifest says: its SHA-256 is {found[:16]}...", _AGAIN)
