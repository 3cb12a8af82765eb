"""Opens a bundle, checks it, and gives out bytes that are what the manifest says."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from targets.bundle.digest import (
    check_file,
    content_digest,
    read_bounded,
    read_verified,
    sums_file,
    verified_chunks,
)
from targets.bundle.parse import parse_manifest
from targets.bundle.paths import MANIFEST_NAME, SIGNATURE_NAME, SUMS_NAME, walk_bundle
from targets.bundle.requirements import Requirement, check_device, device_report
from targets.bundle.schema import MAX_MANIFEST_BYTES, FileEntry, Manifest, model_files
from targets.bundle.signature import SIGNATURE_BYTES, check_signature, load_public_key, sign_folder
from targets.errors import IntegrityError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from targets.detect import Machine
    from targets.runtime.session import Session
    from targets.runtime.settings import Objective, RunSettings

_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_AGAIN: Final = "copy the bundle again from where it was compiled"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a complete verification covered.

    Attributes:
        id: SHA-256 of bundle.json in hexadecimal.
        content_digest: digest of model, tokenizer and self-test.
        files: files whose hash was compared, bundle.json among them.
        bytes: their total size.
        signed: whether there is a signature; `Bundle.open` checks whose.
    """

    id: str
    content_digest: str
    files: int
    bytes: int
    signed: bool


class Bundle:
    """A bundle on disk. Made by `Bundle.open`.

    Attributes:
        path: its folder.
        manifest: what bundle.json says.
        id: SHA-256 of bundle.json in hexadecimal.
    """

    __slots__ = ("_entries", "_manifest_bytes", "id", "manifest", "path")

    def __init__(self, path: Path, manifest: Manifest, manifest_bytes: bytes) -> None:
        """Hold what `Bundle.open` has read and checked."""
        self.path = path
        self.manifest = manifest
        self.id = hashlib.sha256(manifest_bytes).hexdigest()
        self._manifest_bytes = manifest_bytes
        self._entries: Mapping[str, FileEntry] = MappingProxyType(
            {entry.path: entry for entry in manifest.files}
        )

    @classmethod
    def open(cls, path: str | Path, expect_id: str | None = None, *, key: str | Path | None = None) -> Bundle:
        """Open a bundle and check its manifest, its list of files and their sizes, not yet their hashes.

        Args:
            path: the bundle's folder.
            expect_id: the id that the bundle must have, `sha256:` before it or not.
            key: a file with the public Ed25519 key that must have signed it, in PEM or OpenSSH's form.

        Raises:
            UsageError: no bundle is there, `expect_id` is no id, or `key` no key.
            IntegrityError: the bundle is damaged, breaks a rule, has another id, or not that key's signature.
            MissingBackendError: a key is given and `cryptography` is not installed.
        """
        root = _folder(Path(path))
        data = read_bounded(root, MANIFEST_NAME, MAX_MANIFEST_BYTES)
        check_identity(data, read_signature(root), expect_id=expect_id, key=key)
        manifest = parse_manifest(data)
        if content_digest(manifest.files) != manifest.content_digest:
            raise IntegrityError("bundle.json: content_digest does not agree with files", _AGAIN)
        walk_bundle(root, {entry.path: entry.size for entry in manifest.files})
        return cls(root, manifest, data)

    def __repr__(self) -> str:
        """Folder and abbreviated id."""
        return f"Bundle({str(self.path)!r}, id={self.id[:12]!r})"

    def __contains__(self, path: object) -> bool:
        """Whether the manifest lists a file of that path."""
        return path in self._entries

    @property
    def model_bytes(self) -> int:
        """Size of the files that the backend loads."""
        return sum(self._entries[path].size for path in model_files(self.manifest.runtime))

    def read(self, path: str) -> bytes:
        """The bytes of a listed file, their hash compared.

        Args:
            path: relative to the bundle, as the manifest lists it.

        Raises:
            IntegrityError: not listed, or not what the manifest says.
        """
        entry = self._entries.get(path)
        if entry is None:
            raise IntegrityError(f"the bundle holds no {path[:80]!r}", _AGAIN)
        return read_verified(self.path, entry.path, entry.size, entry.sha256)

    def verify(self) -> VerifyReport:
        """Check everything again and every hash: files, SHA256SUMS, and that bundle.json did not change.

        Not who signed it, which is checked when it is opened with a key.

        Raises:
            IntegrityError: anything is not what the manifest says.
        """
        if read_bounded(self.path, MANIFEST_NAME, MAX_MANIFEST_BYTES) != self._manifest_bytes:
            raise IntegrityError("bundle.json changed after the bundle was opened", _AGAIN)
        files = self.manifest.files
        walk_bundle(self.path, {entry.path: entry.size for entry in files})
        expected = sums_file(self._manifest_bytes, files)
        found = read_bounded(self.path, SUMS_NAME, len(expected))
        if found != expected:
            raise IntegrityError(f"{SUMS_NAME} does not agree with bundle.json", _AGAIN)
        for entry in files:
            check_file(self.path, entry)
        return VerifyReport(
            id=self.id,
            content_digest=self.manifest.content_digest,
            files=len(files) + 1,
            bytes=sum(entry.size for entry in files) + len(self._manifest_bytes),
            signed=read_signature(self.path) is not None,
        )

    def contents(self) -> Iterator[tuple[str, int, Iterable[bytes]]]:
        """Path, size in bytes and content of every file, in the order of an archive.

        bundle.json, its signature where there is one, SHA256SUMS, then the listed files sorted by path. A
        content raises IntegrityError behind its last chunk where it is not what the manifest says.
        """
        first = {MANIFEST_NAME: self._manifest_bytes}
        signature = read_signature(self.path)
        if signature is not None:
            first[SIGNATURE_NAME] = signature
        first[SUMS_NAME] = sums_file(self._manifest_bytes, self.manifest.files)
        for path, data in first.items():
            yield path, len(data), (data,)
        for entry in sorted(self.manifest.files, key=lambda each: each.path):
            yield entry.path, entry.size, verified_chunks(self.path, entry)

    def sign(self, key: Ed25519PrivateKey, *, force: bool = False) -> bytes:
        """Sign what is in the bundle's folder, after every hash was compared.

        Args:
            key: of `targets.bundle.signature.load_private_key`.
            force: replace a signature by another key.

        Returns:
            The signature's 64 bytes.

        Raises:
            IntegrityError: anything is not what the manifest says.
            UsageError: it is signed already, or its folder cannot be written to.
        """
        self.verify()
        return sign_folder(self.path, self._manifest_bytes, key, force=force)

    def check_device(self, machine: Machine | None = None) -> None:
        """Check that a machine can run this bundle.

        Args:
            machine: the machine; None is the one that runs.

        Raises:
            IncompatibleError: other architecture, operating system, CPU features, GPU or device, too little
                memory, or a backend that is too old; the message names all of it.
            MissingBackendError: the backend is not installed, and all else is there.
        """
        check_device(self.manifest.target, self.manifest.runtime, machine, engine=self.manifest.engine)

    def device_report(self, machine: Machine | None = None) -> tuple[Requirement, ...]:
        """What this bundle needs of a machine, and what the machine has.

        Args:
            machine: the machine; None is the one that runs.
        """
        return device_report(self.manifest.target, self.manifest.runtime, machine, self.manifest.engine)

    def session(
        self,
        threads: int | None = None,
        *,
        settings: RunSettings | None = None,
        objective: Objective = "latency",
        cache: bool = False,
        cuda_graphs: bool = False,
        build: bool = False,
    ) -> Session:
        """Load the model for inference.

        Args:
            threads: CPU threads; None for those of the settings, 0 for every physical core.
            settings: how to run; None for what `bertc tune` found best on this machine, or else the default.
            objective: which of its findings: "latency" of one text, or "throughput" of many.
            cache: whether OpenVINO keeps what it compiles in the user's cache folder and starts sooner the
                next time. That file is read by native code: only where nobody else can write there.
            cuda_graphs: whether single texts are padded to the settings' lengths and run as CUDA graphs, one
                for each length: fewer launches, more GPU memory. Nothing changes without a GPU.
            build: whether TensorRT's engine is built now, in minutes, where `bertc build` has not.

        Raises:
            BertcError: as for `check_device` and `read`.
        """
        from targets.runtime.session import Session

        return Session.from_bundle(
            self,
            threads=threads,
            settings=settings,
            objective=objective,
            cache=cache,
            cuda_graphs=cuda_graphs,
            build=build,
        )


def check_identity(
    manifest: bytes, signature: bytes | None, *, expect_id: str | None, key: str | Path | None
) -> None:
    """Check that a manifest is the one that the user means, before anything in it is believed.

    Args:
        manifest: the bytes of bundle.json.
        signature: those of bundle.json.sig; None where there is none.
        expect_id: as for `Bundle.open`.
        key: as for `Bundle.open`.

    Raises:
        UsageError, IntegrityError, MissingBackendError: as for `Bundle.open`.
    """
    if expect_id is not None:
        _check_id(manifest, expect_id)
    if key is not None:
        check_signature(manifest, signature, load_public_key(Path(key)))


def read_signature(root: Path) -> bytes | None:
    """The signature in a bundle's folder; None where there is none.

    Raises:
        IntegrityError: it is a link, no regular file, or not of 64 bytes.
    """
    if not os.path.lexists(root / SIGNATURE_NAME):
        return None
    data = read_bounded(root, SIGNATURE_NAME, SIGNATURE_BYTES)
    if len(data) != SIGNATURE_BYTES:
        raise IntegrityError(f"{SIGNATURE_NAME} has {len(data)} bytes, a signature {SIGNATURE_BYTES}", _AGAIN)
    return data


def _folder(path: Path) -> Path:
    hint = "pass the folder that `bertc compile -o` wrote, the one that holds bundle.json"
    try:
        if path.is_dir():
            if (path / MANIFEST_NAME).exists() or (path / MANIFEST_NAME).is_symlink():
                return path
            raise UsageError(f"{path} is not a bundle: it holds no {MANIFEST_NAME}", hint)
        if path.is_file() and path.suffix == ".tar":
            raise UsageError(f"{path} is an archive", "unpack it first: bertc unpack")
        problem = "is not a folder" if path.exists() else "does not exist"
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot open {path}: {error}", hint) from error
    raise UsageError(f"{path} {problem}", hint)


def _check_id(data: bytes, expect_id: str) -> None:
    match = _ID.fullmatch(expect_id.strip().lower())
    if match is None:
        raise UsageError(
            f"{expect_id[:80]!r} is not a bundle's id", "pass 64 hexadecimal digits to --expect-id"
        )
    found = hashlib.sha256(data).hexdigest()
    if found != match[1]:
        raise IntegrityError(
            f"this bundle has the id {found}, not {match[1]}",
            "it is another bundle, or it was changed: do not run it",
        )
