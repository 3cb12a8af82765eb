"""Writes a bundle: deterministic bytes, complete or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from targets.bundle.atomic_dir import remove_stale, staged_directory, sync_directory
from targets.bundle.digest import content_digest, sums_file
from targets.bundle.paths import MANIFEST_NAME, SUMS_NAME, check_tree
from targets.bundle.reader import Bundle
from targets.bundle.schema import FileEntry, Manifest, Role, role_of
from targets.errors import IntegrityError, InternalError, UnsupportedError, UsageError

_CHUNK: Final = 1 << 20
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def check_output(output: Path, *, force: bool = False) -> None:
    """Fail before the work is done where `write_bundle` would fail after it.

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
        raise _cannot_write(output, error) from error
    if not folder.is_dir():
        raise UsageError(f"cannot write {output}: {folder} is not a folder", "pass another folder with -o")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write {output}: {folder} is read-only", "pass another folder with -o")


def write_bundle(
    output: Path, manifest: Manifest, files: Mapping[str, tuple[Role, bytes | Path]], *, force: bool = False
) -> Bundle:
    """Write a bundle in one atomic step.

    Args:
        output: the bundle's folder; missing parents are made.
        manifest: all but `files` and `content_digest`, which are computed here.
        files: role, and content or the path of a file to copy, by path in the bundle.
        force: replace a bundle that is there.

    Returns:
        The bundle, open.

    Raises:
        UsageError: the output is there already or cannot be written; nothing is left behind, and a
            bundle that was there is untouched.
        UnsupportedError: the manifest or the files break a rule of the format.
    """
    check_output(output, force=force)
    try:
        check_tree(files)
    except IntegrityError as error:
        raise _not_a_bundle(error.message) from error
    for path, (role, _) in files.items():
        if role_of(path) != role:
            raise _not_a_bundle(f"a file of role {role} has no place at {path!r}")
    try:
        with staged_directory(output, replace=force) as staging:
            _fill(staging, manifest, files)
    except OSError as error:
        raise _cannot_write(output, error) from error
    return Bundle.open(output)


def _fill(root: Path, manifest: Manifest, files: Mapping[str, tuple[Role, bytes | Path]]) -> None:
    entries = tuple(_write(root, path, *files[path]) for path in sorted(files))
    for folder in sorted({parent for path in files for parent in Path(path).parents if parent.name}):
        sync_directory(root / folder)
    complete = replace(manifest, files=entries, content_digest=content_digest(entries))
    data = complete.to_json()
    _write(root, SUMS_NAME, "report", sums_file(data, entries))
    _write(root, MANIFEST_NAME, "report", data)
    try:
        Bundle.open(root)
    except IntegrityError as error:
        raise _not_a_bundle(error.message) from error


def _write(root: Path, path: str, role: Role, content: bytes | Path) -> FileEntry:
    """Write and sync one file, hashing the bytes as they are written."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    size = 0
    with target.open("xb") as stream:
        for chunk in _chunks(content):
            digest.update(chunk)
            size += len(chunk)
            stream.write(chunk)
        stream.flush()
        os.fsync(stream.fileno())
    return FileEntry(path, role, size, digest.hexdigest())


def _chunks(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    try:
        with content.open("rb") as source:
            while chunk := source.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise InternalError(
            f"a file to package cannot be read: {content}: {error.strerror}", "compile again"
        ) from error


def _check_existing(output: Path, *, force: bool) -> None:
    if not force:
        raise UsageError(f"{output} exists already", "pass --force to replace it, or another folder with -o")
    if output.is_symlink() or not output.is_dir():
        raise UsageError(f"{output} is not a folder, and is not replaced", "pass another folder with -o")
    if not (output / MANIFEST_NAME).is_file() and any(output.iterdir()):
        raise UsageError(
            f"{output} holds files but no {MANIFEST_NAME}, and is not replaced", "pass another folder with -o"
        )


def _not_a_bundle(problem: str) -> UnsupportedError:
    return UnsupportedError(
        f"this model does not fit the bundle format: {problem}",
        "correct what is named, in the checkpoint's configuration or its tokenizer",
    )


def _cannot_write(output: Path, error: OSError) -> UsageError:
    full = error.errno in _FULL
    hint = "free some space there" if full else "make it writable"
    return UsageError(
        f"cannot write {output}: {error.strerror or error}", f"{hint}, or pass another folder with -o"
    )
