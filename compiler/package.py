"""Writes a bundle: deterministic bytes, complete or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from targets.bundle.atomic_dir import staged_directory, sync_directory
from targets.bundle.digest import content_digest, sums_file
from targets.bundle.output import cannot_write, check_output, write_file
from targets.bundle.paths import MANIFEST_NAME, SIGNATURE_NAME, SUMS_NAME, check_tree
from targets.bundle.reader import Bundle
from targets.bundle.schema import FileEntry, Manifest, Role, role_of
from targets.errors import IntegrityError, InternalError, UnsupportedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_CHUNK: Final = 1 << 20


def write_bundle(
    output: Path,
    manifest: Manifest,
    files: Mapping[str, tuple[Role, bytes | Path]],
    *,
    force: bool = False,
    key: Ed25519PrivateKey | None = None,
) -> Bundle:
    """Write a bundle in one atomic step.

    Args:
        output: the bundle's folder; missing parents are made.
        manifest: all but `files` and `content_digest`, which are computed here.
        files: role, and content or the path of a file to copy, by path in the bundle.
        force: replace a bundle that is there.
        key: signs it; None leaves it unsigned.

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
            _fill(staging, manifest, files, key)
    except OSError as error:
        raise cannot_write(output, error) from error
    return Bundle.open(output)


def _fill(
    root: Path,
    manifest: Manifest,
    files: Mapping[str, tuple[Role, bytes | Path]],
    key: Ed25519PrivateKey | None,
) -> None:
    entries = tuple(_write(root, path, *files[path]) for path in sorted(files))
    for folder in sorted({parent for path in files for parent in Path(path).parents if parent.name}):
        sync_directory(root / folder)
    complete = replace(manifest, files=entries, content_digest=content_digest(entries))
    data = complete.to_json()
    write_file(root / SUMS_NAME, [sums_file(data, entries)])
    if key is not None:
        write_file(root / SIGNATURE_NAME, [key.sign(data)])
    write_file(root / MANIFEST_NAME, [data])
    try:
        Bundle.open(root)
    except IntegrityError as error:
        raise _not_a_bundle(error.message) from error


def _write(root: Path, path: str, role: Role, content: bytes | Path) -> FileEntry:
    size, sha256 = write_file(root / path, _chunks(content))
    return FileEntry(path, role, size, sha256)


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


def _not_a_bundle(problem: str) -> UnsupportedError:
    return UnsupportedError(
        f"this model does not fit the bundle format: {problem}",
        "correct what is named, in the checkpoint's configuration or its tokenizer",
    )
