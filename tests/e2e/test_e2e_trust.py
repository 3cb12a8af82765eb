"""Signing and shipping on the command line: keygen, compile --sign-key, sign, verify, pack, unpack."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from tests.support.compiling import TARGET, Bundles, bertc, everything


@pytest.fixture
def key(tmp_path: Path) -> Path:
    assert bertc("keygen", tmp_path / "key").code == 0
    return tmp_path / "key"


@pytest.fixture
def bundle(bundles: Bundles, tmp_path: Path) -> Path:
    """A copy, which may be written to."""
    return Path(shutil.copytree(bundles("bert", "text-classification", "onnxruntime").path, tmp_path / "b"))


def test_compile_signs(onnx_model: Path, data: Path, out: Path, key: Path, tmp_path: Path) -> None:
    options = ("--calibration-data", data, "--runtime", "onnxruntime", "--ranges", "minmax")
    ran = bertc("compile", onnx_model, "-o", out, "--sign-key", key, "--json", *options)
    assert ran.code == 0, ran.err
    (path,) = (row["path"] for row in json.loads(ran.out)["bundles"])
    ran = bertc("verify", path, "--key", f"{key}.pub", "--json")
    assert json.loads(ran.out)["signature"] == "valid"
    again = ("compile", onnx_model, "-o", tmp_path / "other", *options, "--sign-key")
    bertc(*again, tmp_path / "none").fails(2, "cannot read the key")
    bertc(*again, f"{key}.pub").fails(2, "is not a private key")
    assert not (tmp_path / "other").exists()


def test_sign_and_verify(bundle: Path, key: Path, tmp_path: Path) -> None:
    assert "signed   no" in bertc("verify", bundle).out
    bertc("verify", bundle, "--key", f"{key}.pub").fails(5, "is not signed")
    ran = bertc("sign", bundle, "--key", key, "--json")
    assert ran.code == 0, ran.err
    assert ran.err == ""
    signature = (bundle / "bundle.json.sig").read_bytes()
    assert json.loads(ran.out)["signature"] == signature.hex()
    assert "pass --key" in bertc("verify", bundle).out
    assert "by the key that was given" in bertc("verify", bundle, "--key", f"{key}.pub").out
    bertc("keygen", tmp_path / "other")
    for command in (
        ("verify", bundle),
        ("run", bundle, "--text", "a"),
        ("selftest", bundle),
        ("inspect", bundle),
        ("diff", bundle, bundle),
        ("bench", bundle),
        ("tune", bundle),
        ("check-device", bundle),
        ("pack", bundle),
        ("validate", bundle, "--eval-data", tmp_path / "none"),
    ):
        bertc(*command, "--key", tmp_path / "other.pub").fails(5, "not by this key")
    assert bertc("run", bundle, "--text", "a", "--key", f"{key}.pub").code == 0
    bertc("sign", bundle, "--key", tmp_path / "other").fails(2, "signed already", "--force")
    assert bertc("sign", bundle, "--key", tmp_path / "other", "--force").code == 0
    bertc("verify", bundle, "--key", f"{key}.pub").fails(5, "not by this key")


def test_a_key_that_others_can_read(bundle: Path, key: Path) -> None:
    key.chmod(0o644)
    ran = bertc("sign", bundle, "--key", key)
    assert ran.code == 0
    assert "others on this machine can read" in ran.err


def test_an_encrypted_key(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BERTC_KEY_PASSPHRASE", "a secret")
    ran = bertc("keygen", tmp_path / "key", "--passphrase", "--json")
    assert json.loads(ran.out) == {"private": str(tmp_path / "key"), "public": str(tmp_path / "key.pub")}
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert bertc("sign", bundle, "--key", tmp_path / "key").code == 0
    monkeypatch.setenv("BERTC_KEY_PASSPHRASE", "another")
    bertc("sign", bundle, "--key", tmp_path / "key").fails(2, "passphrase", "is wrong")
    monkeypatch.delenv("BERTC_KEY_PASSPHRASE")
    bertc("sign", bundle, "--key", tmp_path / "key").fails(2, "is encrypted", "BERTC_KEY_PASSPHRASE")


def test_pack_and_unpack(bundle: Path, key: Path, tmp_path: Path) -> None:
    bertc("sign", bundle, "--key", key)
    ran = bertc("pack", bundle, "--json")
    assert ran.code == 0, ran.err
    packed = json.loads(ran.out)
    assert packed["path"] == str(tmp_path / "b.tar")
    assert packed["bytes"] == (tmp_path / "b.tar").stat().st_size
    bertc("pack", bundle).fails(2, "exists already", "--force")
    bertc("run", tmp_path / "b.tar", "--text", "a").fails(2, "is an archive", "bertc unpack")
    there = tmp_path / "there"
    ran = bertc("unpack", packed["path"], "-o", there, "--key", f"{key}.pub", "--expect-id", packed["id"])
    assert ran.code == 0, ran.err
    path = there / f"bert-text-classification-{TARGET}.bundle"
    assert str(path) in ran.out
    assert everything(path) == everything(bundle)
    first, second = (bertc("run", each, "--text", "a film", "--json").out for each in (bundle, path))
    assert first == second
    bertc("unpack", packed["path"], "-o", there).fails(2, "exists already")
    bertc("unpack", bundle, "-o", there).fails(2, "is not a file")
    bertc("unpack", bundle / "bundle.json", "-o", there).fails(5, "is not an archive")
    bertc("unpack", packed["path"], "-o", tmp_path / "no", "--expect-id", "0" * 64).fails(5, "has the id")
    assert not (tmp_path / "no").exists()
