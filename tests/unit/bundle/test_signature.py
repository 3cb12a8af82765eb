"""Ed25519 signatures: keys of several origins, who signed what, and everything that must not pass."""

from __future__ import annotations

import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from targets.bundle.reader import Bundle
from targets.bundle.signature import (
    PASSPHRASE_VARIABLE,
    EncryptedKeyError,
    check_signature,
    generate_key,
    load_private_key,
    load_public_key,
)
from targets.errors import IntegrityError, UsageError
from tests.support.bundles import edit_manifest, entry_of, write_sample

SSH = shutil.which("ssh-keygen")
OPENSSL = shutil.which("openssl")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_sample(tmp_path / "tiny.bundle").path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    generate_key(tmp_path / "key")
    return tmp_path / "key"


def public(key: Path) -> Path:
    return key.with_name(key.name + ".pub")


def sign(bundle: Path, key: Path, *, force: bool = False) -> bytes:
    return Bundle.open(bundle).sign(load_private_key(key), force=force)


def test_a_signed_bundle_is_opened_by_its_key_and_by_no_other(
    bundle: Path, key: Path, tmp_path: Path
) -> None:
    assert not Bundle.open(bundle).verify().signed
    signature = sign(bundle, key)
    assert (bundle / "bundle.json.sig").read_bytes() == signature
    assert len(signature) == 64
    assert Bundle.open(bundle, key=public(key)).verify().signed
    assert Bundle.open(bundle).verify().signed
    other = generate_key(tmp_path / "other")
    with pytest.raises(IntegrityError, match="not by this key"):
        Bundle.open(bundle, key=other)


def test_an_unsigned_bundle_is_refused_where_a_key_is_given(bundle: Path, key: Path) -> None:
    with pytest.raises(IntegrityError, match="is not signed"):
        Bundle.open(bundle, key=public(key))


def test_a_manifest_changed_after_it_was_signed_is_refused(bundle: Path, key: Path) -> None:
    sign(bundle, key)
    edit_manifest(bundle, lambda d: d.update(name="other"))
    assert Bundle.open(bundle).manifest.name == "other"
    with pytest.raises(IntegrityError, match="not by this key"):
        Bundle.open(bundle, key=public(key))


def test_the_signature_covers_every_file(bundle: Path, key: Path) -> None:
    """An attacker who makes the manifest agree with his model has no signature of that manifest."""
    sign(bundle, key)
    (bundle / "model/model.onnx").write_bytes(b"evil" * 300)
    with pytest.raises(IntegrityError, match="is not what the manifest says"):
        Bundle.open(bundle, key=public(key)).verify()
    edit_manifest(bundle, lambda d: entry_of(d, "model/model.onnx").update(sha256="0" * 64))
    with pytest.raises(IntegrityError, match="not by this key"):
        Bundle.open(bundle, key=public(key))


def test_a_signature_is_checked_before_the_manifest_is_believed(bundle: Path, key: Path) -> None:
    sign(bundle, key)
    (bundle / "bundle.json").write_bytes(b"not even JSON")
    with pytest.raises(IntegrityError, match="not by this key"):
        Bundle.open(bundle, key=public(key))


@pytest.mark.parametrize("size", [0, 63, 65, 1000])
def test_a_signature_of_another_size_is_refused_with_a_key_and_without(bundle: Path, size: int) -> None:
    (bundle / "bundle.json.sig").write_bytes(b"s" * size)
    with pytest.raises(IntegrityError, match=r"bundle\.json\.sig"):
        Bundle.open(bundle).verify()


def test_what_is_damaged_is_not_signed(bundle: Path, key: Path) -> None:
    (bundle / "model/model.onnx").write_bytes(b"ONNX" * 300)
    with pytest.raises(IntegrityError, match="is not what the manifest says"):
        sign(bundle, key)
    assert not (bundle / "bundle.json.sig").exists()


def test_a_second_key_needs_force(bundle: Path, key: Path, tmp_path: Path) -> None:
    first = sign(bundle, key)
    assert sign(bundle, key) == first
    generate_key(tmp_path / "other")
    with pytest.raises(UsageError, match="signed already"):
        sign(bundle, tmp_path / "other")
    assert (bundle / "bundle.json.sig").read_bytes() == first
    assert sign(bundle, tmp_path / "other", force=True) != first
    assert Bundle.open(bundle, key=tmp_path / "other.pub").verify().signed
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_new_private_key_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    found = generate_key(tmp_path / "key")
    assert found == tmp_path / "key.pub"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    before = (tmp_path / "key").read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        generate_key(tmp_path / "key")
    (tmp_path / "key").rename(tmp_path / "moved")
    with pytest.raises(UsageError, match=r"key\.pub exists already"):
        generate_key(tmp_path / "key")
    assert not (tmp_path / "key").exists()
    assert (tmp_path / "moved").read_bytes() == before


def test_an_encrypted_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generate_key(tmp_path / "key", "a secret")
    assert b"ENCRYPTED" in (tmp_path / "key").read_bytes()
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    with pytest.raises(EncryptedKeyError, match="is encrypted"):
        load_private_key(tmp_path / "key")
    with pytest.raises(UsageError, match=r"passphrase of .* is wrong"):
        load_private_key(tmp_path / "key", "another")
    assert load_private_key(tmp_path / "key", "a secret")
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "a secret")
    assert load_private_key(tmp_path / "key")
    generate_key(tmp_path / "plain")
    assert load_private_key(tmp_path / "plain")


@pytest.mark.skipif(SSH is None, reason="needs ssh-keygen")
def test_keys_of_openssh(bundle: Path, tmp_path: Path) -> None:
    command = [str(SSH), "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "id")]
    subprocess.run(command, check=True)
    sign(bundle, tmp_path / "id")
    assert Bundle.open(bundle, key=tmp_path / "id.pub").verify().signed


@pytest.mark.skipif(OPENSSL is None, reason="needs openssl")
def test_openssl_makes_keys_and_checks_signatures(bundle: Path, tmp_path: Path) -> None:
    def openssl(*argv: object) -> str:
        command = [str(OPENSSL), *map(str, argv)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    key, pub = tmp_path / "key", tmp_path / "key.pub"
    openssl("genpkey", "-algorithm", "ed25519", "-out", key)
    openssl("pkey", "-in", key, "-pubout", "-out", pub)
    sign(bundle, key)
    assert Bundle.open(bundle, key=pub).verify().signed
    files = ("-in", bundle / "bundle.json", "-sigfile", bundle / "bundle.json.sig")
    assert "Verified" in openssl("pkeyutl", "-verify", "-rawin", "-pubin", "-inkey", pub, *files)


def pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> tuple[bytes, bytes]:
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return private, key.public_key().public_bytes(serialization.Encoding.PEM, spki)


def test_what_is_no_key_says_so(key: Path, tmp_path: Path) -> None:
    private, spki = pem(ec.generate_private_key(ec.SECP256R1()))
    (tmp_path / "ec").write_bytes(private)
    (tmp_path / "ec.pub").write_bytes(spki)
    (tmp_path / "text").write_bytes(b"hello")
    (tmp_path / "large").write_bytes(b"-----BEGIN PRIVATE KEY-----" * 2000)
    (tmp_path / "cut").write_bytes(key.read_bytes()[:60])
    for path, message in (
        ("ec", "of another type"),
        ("text", "is not a private key"),
        ("large", "too large"),
        ("cut", "cannot be read as a private key"),
        ("none", "cannot read the key"),
        (".", "cannot read the key"),
        ("key.pub", "is not a private key"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            load_private_key(tmp_path / path)
        assert caught.value.hint
    for path, message in (
        ("ec.pub", "of another type"),
        ("text", "cannot be read as a public key"),
        ("large", "too large"),
        ("key", "is a private key"),
    ):
        with pytest.raises(UsageError, match=message):
            load_public_key(tmp_path / path)


KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


@given(manifest=st.binary(max_size=64), place=st.integers(0, 511))
def test_any_changed_bit_of_a_signature_is_found(manifest: bytes, place: int) -> None:
    signature = KEY.sign(manifest)
    check_signature(manifest, signature, KEY.public_key())
    changed = bytearray(signature)
    changed[place // 8] ^= 1 << place % 8
    with pytest.raises(IntegrityError):
        check_signature(manifest, bytes(changed), KEY.public_key())
    with pytest.raises(IntegrityError):
        check_signature(manifest + b"\0", signature, KEY.public_key())


@given(data=st.binary(max_size=300) | st.sampled_from([b"ssh-ed25519 AAAA", b"-----BEGIN PUBLIC KEY-----\n"]))
def test_any_bytes_are_no_public_key(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    with pytest.raises(UsageError):
        load_public_key(path)
