"""Ed25519 signatures of bundle.json (RFC 8032): who made a bundle, which hashes cannot show.

bundle.json lists the SHA-256 of every other file, so that its signature covers them all. It is the 64 raw
bytes over the file's bytes, which OpenSSL 3 checks as well:

    openssl pkeyutl -verify -rawin -pubin -inkey KEY.pub -in bundle.json -sigfile bundle.json.sig
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from targets.bundle.atomic_file import staged_file
from targets.bundle.digest import read_bounded
from targets.bundle.output import cannot_write
from targets.bundle.paths import SIGNATURE_NAME
from targets.errors import IntegrityError, MissingBackendError, UsageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

SIGNATURE_BYTES: Final = 64
PASSPHRASE_VARIABLE: Final = "BERTC_KEY_PASSPHRASE"

_MAX_KEY_BYTES: Final = 16 * 1024
_NO_KEY_HINT: Final = (
    "make a pair with `bertc keygen NAME`, or give one of OpenSSL or ssh-keygen of the type Ed25519"
)


class EncryptedKeyError(UsageError):
    """A private key that needs a passphrase, and none was given."""


def generate_key(path: Path, passphrase: str | None = None) -> Path:
    """Make a key pair: the private key in `path`, for its owner alone to read, the public one in `path`.pub.

    Args:
        path: of a file that is not there; PKCS #8 in PEM.
        passphrase: encrypts the private key; None leaves it as it is.

    Returns:
        The path of the public key.

    Raises:
        UsageError: one of the files is there, or cannot be written.
        MissingBackendError: `cryptography` is not installed.
    """
    _require()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = path.with_name(path.name + ".pub")
    for each in (path, public):
        if os.path.lexists(each):
            raise UsageError(f"{each} exists already", "keys are never overwritten: give another name")
    key = Ed25519PrivateKey.generate()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    _write_new(path, key.private_bytes(pem, pkcs8, encryption), 0o600)
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    _write_new(public, key.public_key().public_bytes(pem, form), 0o644)
    return public


def load_private_key(path: Path, passphrase: str | None = None) -> Ed25519PrivateKey:
    """Read a private key in PEM (PKCS #8) or OpenSSH's form.

    Args:
        path: of the key.
        passphrase: of an encrypted key; None for that of the environment variable BERTC_KEY_PASSPHRASE.

    Raises:
        UsageError: no such file, no Ed25519 key, or a wrong passphrase.
        EncryptedKeyError: a passphrase that is missing.
        MissingBackendError: `cryptography` is not installed.
    """
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    data = _read_key(path)
    if b"PRIVATE KEY-----" not in data:
        raise UsageError(f"{path} is not a private key", _NO_KEY_HINT)
    ssh = b"OPENSSH PRIVATE KEY" in data
    load = serialization.load_ssh_private_key if ssh else serialization.load_pem_private_key
    given = passphrase if passphrase is not None else os.environ.get(PASSPHRASE_VARIABLE)
    try:
        key = load(data, None)
    except TypeError as error:  # it is encrypted
        if not given:
            raise EncryptedKeyError(
                f"{path} is encrypted", f"set {PASSPHRASE_VARIABLE} to its passphrase"
            ) from error
        key = _decrypted(path, lambda: load(data, given.encode()))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path} cannot be read as a private key: {error}", _NO_KEY_HINT) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"{path} is not an Ed25519 key but of another type", _NO_KEY_HINT)
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """Read a public key in PEM or OpenSSH's form.

    Raises:
        UsageError: no such file, or no public Ed25519 key.
        MissingBackendError: `cryptography` is not installed.
    """
    _require()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    data = _read_key(path)
    if b"PRIVATE KEY-----" in data:
        raise UsageError(f"{path} is a private key", "verify with the public one, as in KEY.pub")
    pem = data.lstrip().startswith(b"-----BEGIN")
    load = serialization.load_pem_public_key if pem else serialization.load_ssh_public_key
    try:
        key = load(data)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UsageError(f"{path} cannot be read as a public key", _NO_KEY_HINT) from error
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError(f"{path} is not an Ed25519 key but of another type", _NO_KEY_HINT)
    return key


def is_open_to_others(path: Path) -> bool:
    """Whether others than its owner may read a private key."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH))


def sign_folder(root: Path, manifest: bytes, key: Ed25519PrivateKey, *, force: bool = False) -> bytes:
    """Put a signature into a bundle's folder, in one atomic step.

    Args:
        root: the folder.
        manifest: the bytes of its bundle.json, which the caller has checked.
        key: of the signer.
        force: replace a signature by another key.

    Returns:
        The signature's 64 bytes.

    Raises:
        UsageError: there is another signature and `force` is false, or the folder cannot be written to.
    """
    signature = key.sign(manifest)
    target = root / SIGNATURE_NAME
    if os.path.lexists(target) and not force:
        if read_bounded(root, SIGNATURE_NAME, SIGNATURE_BYTES) == signature:
            return signature
        raise UsageError(f"{root} is signed already", "pass --force to replace the signature")
    try:
        with staged_file(target, replace=True, beside=root.resolve()) as stream:
            stream.write(signature)
    except OSError as error:
        raise cannot_write(target, error) from error
    return signature


def check_signature(manifest: bytes, signature: bytes | None, key: Ed25519PublicKey) -> None:
    """Check who signed a manifest.

    Args:
        manifest: the bytes of bundle.json.
        signature: those of bundle.json.sig; None where there is none.
        key: whose signature it must be.

    Raises:
        IntegrityError: no signature, or not that key's signature of these bytes.
    """
    from cryptography.exceptions import InvalidSignature

    if signature is None:
        raise IntegrityError(
            "the bundle is not signed", "sign it where it was compiled (`bertc sign`), or do not run it"
        )
    try:
        key.verify(signature, manifest)
    except InvalidSignature as error:
        raise IntegrityError(
            "the signature is not by this key, or bundle.json was changed after it was signed",
            "do not run it before you know why",
        ) from error


def _require() -> None:
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingBackendError(
            "signatures need cryptography, which is not installed", 'run: pip install "bertc[sign]"'
        ) from error


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_KEY_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read the key {path}: {error.strerror or error}", _NO_KEY_HINT) from error
    if len(data) > _MAX_KEY_BYTES:
        raise UsageError(f"{path} is too large to be a key", _NO_KEY_HINT)
    return data


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        with staged_file(path, replace=False, mode=mode) as stream:
            stream.write(data)
    except OSError as error:
        raise cannot_write(path, error) from error


def _decrypted(path: Path, load: Callable[[], PrivateKeyTypes]) -> PrivateKeyTypes:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load()
    except UnsupportedAlgorithm as error:  # OpenSSH's encryption is in a package of its own
        raise UsageError(f"{path} cannot be decrypted: {error}", "run: pip install bcrypt") from error
    except ValueError as error:
        raise UsageError(f"the passphrase of {path} is wrong", f"check {PASSPHRASE_VARIABLE}") from error
