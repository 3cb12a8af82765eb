"""One file for shipping: a tar archive that holds a bundle's files and nothing else.

The bytes follow from the bundle: POSIX ustar, nothing compressed, bundle.json first, then its signature and
SHA256SUMS, then the listed files sorted by path, below one folder; constant times, owners and modes. So a
reader need not interpret what it is given. Once bundle.json is read, every header, size and offset that may
follow is known, and anything else is refused: no links, no other types, no extensions, nothing twice, nothing
behind the end.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from targets.bundle.atomic_dir import staged_directory
from targets.bundle.atomic_file import staged_file
from targets.bundle.beneath import check_written, opened_folder, write_beneath
from targets.bundle.digest import hashed, sums_file
from targets.bundle.output import cannot_write, check_output
from targets.bundle.parse import parse_manifest
from targets.bundle.paths import MANIFEST_NAME, SIGNATURE_NAME, SUMS_NAME
from targets.bundle.reader import Bundle, check_identity
from targets.bundle.schema import MAX_MANIFEST_BYTES, FileEntry, Manifest
from targets.bundle.signature import SIGNATURE_BYTES
from targets.errors import IntegrityError, UnsupportedError, UsageError

SUFFIX: Final = ".tar"

_BLOCK: Final = 512
_END: Final = b"\0" * 2 * _BLOCK
_TIME: Final = 315532800
"""1980-01-01 in UTC, the earliest that every kind of archive and file system can hold."""
_CHUNK: Final = 1 << 20
_SIZE: Final = slice(124, 136)
_AGAIN: Final = "copy it again from where it was packed"
_FOREIGN: Final = {
    b"PK": "a zip file",
    b"\x1f\x8b": "a gzip file",
    b"BZ": "a bzip2 file",
    b"\xfd7": "an xz file",
}


@dataclass(frozen=True, slots=True)
class Packed:
    """An archive.

    Attributes:
        path: of the file.
        size: in bytes.
        sha256: of the file, in hexadecimal.
    """

    path: Path
    size: int
    sha256: str


def folder_name(manifest: Manifest) -> str:
    """The folder that a bundle has in its archive, and where it is unpacked: NAME-TARGET.bundle."""
    return f"{manifest.name}-{manifest.target.id}.bundle"


def pack(bundle: Bundle, output: Path, *, force: bool = False) -> Packed:
    """Write a bundle into one file, the same bytes each time.

    Args:
        bundle: an open bundle; every byte is compared with its manifest on the way.
        output: the archive; its folder is there.
        force: replace a file that is there.

    Raises:
        IntegrityError: the bundle is not what its manifest says.
        UnsupportedError: a path that this kind of archive cannot hold.
        UsageError: the output is there already, or cannot be written.
    """
    if os.path.lexists(output) and (not force or not output.is_file()):
        raise UsageError(f"{output} exists already", "pass --force to replace it, or another file with -o")
    bundle.verify()
    try:
        with staged_file(output, replace=force) as stream:
            size, sha256 = hashed(_archive(bundle), stream.write)
    except OSError as error:
        raise cannot_write(output, error) from error
    return Packed(output, size, sha256)


def unpack(
    archive: Path,
    folder: Path,
    *,
    force: bool = False,
    expect_id: str | None = None,
    key: str | Path | None = None,
) -> Bundle:
    """Make a bundle's folder of its archive: complete, with every hash compared, or not at all.

    Args:
        archive: of `pack`.
        folder: receives NAME-TARGET.bundle.
        force: replace a bundle that is there.
        expect_id: the id that the bundle must have; checked before anything is written.
        key: a file with the public key that must have signed it; checked before anything is written.

    Returns:
        The bundle, open.

    Raises:
        UsageError: no such file, or an output that is there already or cannot be written.
        IntegrityError: not what `pack` writes, damaged, another id, or not signed by that key.
    """
    with _opened(archive) as stream:
        reader = _Reader(stream, archive.name)
        manifest = reader.start(expect_id, key)
        output = folder / folder_name(manifest)
        check_output(output, force=force)
        try:
            with staged_directory(output, replace=force) as staging, opened_folder(staging) as root:
                reader.extract(root)
                check_written(root, staging)
                Bundle.open(staging, expect_id, key=key)
        except OSError as error:
            raise cannot_write(output, error) from error
    return Bundle.open(output, expect_id, key=key)


class _Reader:
    """Reads an archive from its beginning to its end."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._manifest_bytes = b""
        self._signature: bytes | None = None
        self._folder = ""
        self._entries: tuple[FileEntry, ...] = ()

    def start(self, expect_id: str | None, key: str | Path | None) -> Manifest:
        """Reads the manifest and its signature, and checks them and the archive's size."""
        header = self._read(_BLOCK)
        size = self._first_size(header)
        self._manifest_bytes = self._content(size)
        headers = {SUMS_NAME: self._read(_BLOCK)}
        if _names(headers[SUMS_NAME], SIGNATURE_NAME):
            self._signature = self._content(SIGNATURE_BYTES)
            headers = {SIGNATURE_NAME: headers[SUMS_NAME], SUMS_NAME: self._read(_BLOCK)}
        check_identity(self._manifest_bytes, self._signature, expect_id=expect_id, key=key)
        manifest = parse_manifest(self._manifest_bytes)
        self._folder = folder_name(manifest)
        self._entries = tuple(sorted(manifest.files, key=lambda entry: entry.path))
        sizes = {MANIFEST_NAME: size, SIGNATURE_NAME: SIGNATURE_BYTES, SUMS_NAME: len(self._sums())}
        for path, found in {MANIFEST_NAME: header, **headers}.items():
            self._expect(found, path, sizes[path])
        self._check_size()
        return manifest

    def extract(self, root: int) -> None:
        """Writes every file below an open folder."""
        sums = self._content(len(self._sums()))
        if sums != self._sums():
            raise self._damaged(f"{SUMS_NAME} does not agree with {MANIFEST_NAME}")
        for entry in self._entries:
            self._expect(self._read(_BLOCK), entry.path, entry.size)
            _, sha256 = write_beneath(root, entry.path, self._chunks(entry.size))
            if sha256 != entry.sha256:
                raise self._damaged(f"{entry.path} is not what the manifest says")
        if self._read(len(_END)) != _END or self._stream.read(1):
            raise self._damaged("its end is not where it should be")
        write_beneath(root, SUMS_NAME, [sums])
        if self._signature is not None:
            write_beneath(root, SIGNATURE_NAME, [self._signature])
        write_beneath(root, MANIFEST_NAME, [self._manifest_bytes])

    def _sums(self) -> bytes:
        return sums_file(self._manifest_bytes, self._entries)

    def _first_size(self, header: bytes) -> int:
        for magic, kind in _FOREIGN.items():
            if header.startswith(magic):
                raise IntegrityError(f"{self._name} is {kind}, not an archive of `bertc pack`", _AGAIN)
        digits = header[_SIZE].rstrip(b"\0 ")
        if not (digits.isdigit() and _names(header, MANIFEST_NAME)):
            raise IntegrityError(f"{self._name} is not an archive of `bertc pack`", _AGAIN)
        try:
            size = int(digits, 8)
        except ValueError:
            size = 0
        if not 0 < size <= MAX_MANIFEST_BYTES:
            raise self._damaged(f"{MANIFEST_NAME} must have between 1 and {MAX_MANIFEST_BYTES} bytes")
        return size

    def _check_size(self) -> None:
        """Before anything is written: a file that is longer or shorter than it must be is refused."""
        sizes = [len(self._manifest_bytes), len(self._sums()), *(entry.size for entry in self._entries)]
        if self._signature is not None:
            sizes.append(SIGNATURE_BYTES)
        expected = sum(_BLOCK + _padded(size) for size in sizes) + len(_END)
        found = os.fstat(self._stream.fileno()).st_size
        if found != expected:
            raise self._damaged(f"it has {found} bytes, and must have {expected}")

    def _expect(self, header: bytes, path: str, size: int) -> None:
        try:
            expected = _header(f"{self._folder}/{path}", size)
        except ValueError:
            expected = b""
        if header != expected:
            raise self._damaged(f"{path} is not where it should be, or not as `bertc pack` writes it")

    def _content(self, size: int) -> bytes:
        return b"".join(self._chunks(size))

    def _chunks(self, size: int) -> Iterator[bytes]:
        left = size
        while left:
            chunk = self._read(min(_CHUNK, left))
            left -= len(chunk)
            yield chunk
        if any(self._read(_padded(size) - size)):
            raise self._damaged("there is something between its files")

    def _read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except OSError as error:
            raise self._damaged(f"it cannot be read: {error.strerror or error}") from error
        if len(data) != size:
            raise self._damaged("it is truncated")
        return data

    def _damaged(self, problem: str) -> IntegrityError:
        return IntegrityError(f"{self._name}: {problem}", _AGAIN)


def _archive(bundle: Bundle) -> Iterator[bytes]:
    folder = folder_name(bundle.manifest)
    for path, size, chunks in bundle.contents():
        try:
            yield _header(f"{folder}/{path}", size)
        except ValueError as error:
            raise UnsupportedError(
                f"an archive cannot hold the path {folder}/{path}", "compile the model with a shorter --name"
            ) from error
        yield from chunks
        yield b"\0" * (_padded(size) - size)
    yield _END


def _header(name: str, size: int) -> bytes:
    """The one header of a file.

    Raises:
        ValueError: the name is too long for it.
    """
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, _TIME, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def _names(header: bytes, name: str) -> bool:
    """Whether a header that was not checked yet may be that of a file of this name."""
    return header[:100].rstrip(b"\0").rpartition(b"/")[2] == name.encode()


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    hint = "pass a file that `bertc pack` wrote"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}", hint) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UsageError(f"{path} is not a file", hint)
    with os.fdopen(descriptor, "rb") as stream:
        yield stream
