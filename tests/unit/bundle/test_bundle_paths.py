"""Paths and files of a bundle: what the reading functions accept, and what they do when it changes.

Whole hostile bundles are in `tests.bundle_attacks`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.bundle.beneath import check_written, opened_folder, write_beneath
from targets.bundle.digest import read_bounded, read_verified, sha256_file
from targets.bundle.paths import check_relative_path, check_tree, open_beneath, walk_bundle
from targets.bundle.reader import Bundle
from targets.errors import IntegrityError
from tests.support.bundles import write_sample

LICENSE = "licenses/LICENSE"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_sample(tmp_path / "tiny.bundle").path


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(data)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_is_found_by_read_and_by_verify(bundle: Path) -> None:
    flip(bundle / "model/model.onnx")
    opened = Bundle.open(bundle)
    with pytest.raises(IntegrityError, match=r"model/model\.onnx is not what the manifest says"):
        opened.read("model/model.onnx")
    with pytest.raises(IntegrityError, match=r"model/model\.onnx is not what the manifest says"):
        opened.verify()
    assert opened.read("selftest.json") == b'{"version": 1}'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-1], "SHA256SUMS does not agree"),
        (lambda data: data + b"\n", "SHA256SUMS is larger"),
        (lambda data: b"0" + data[1:] if data[:1] != b"0" else b"1" + data[1:], "SHA256SUMS does not agree"),
        (lambda data: b"".join(reversed(data.splitlines(keepends=True))), "SHA256SUMS does not agree"),
    ],
)
def test_verify_compares_the_sums(bundle: Path, change: Callable[[bytes], bytes], message: str) -> None:
    sums = bundle / "SHA256SUMS"
    sums.write_bytes(change(sums.read_bytes()))
    with pytest.raises(IntegrityError, match=message):
        Bundle.open(bundle).verify()


def test_verify_sees_what_happened_after_the_bundle_was_opened(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    (bundle / "model/extra").write_bytes(b"")
    with pytest.raises(IntegrityError, match="'model/extra' is not in the manifest"):
        opened.verify()
    (bundle / "model/extra").unlink()
    append(bundle / "bundle.json", b" ")
    with pytest.raises(IntegrityError, match=r"bundle\.json changed"):
        opened.verify()


def test_read_gives_only_listed_files(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    for path in ("bundle.json", "../outside", "/etc/passwd", "model/none"):
        assert path not in opened
        with pytest.raises(IntegrityError, match="the bundle holds no"):
            opened.read(path)


def test_reading_functions_follow_no_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("real")
    assert read_bounded(tmp_path, "real", 3) == b"abc"
    digest = sha256_file(tmp_path / "real")
    assert read_verified(tmp_path, "real", 3, digest) == b"abc"
    with pytest.raises(IntegrityError, match="has 3 bytes, the manifest says 2"):
        read_verified(tmp_path, "real", 2, digest)
    with pytest.raises(IntegrityError, match="larger than 2 bytes"):
        read_bounded(tmp_path, "real", 2)
    for path in ("link", "none", "../real"):
        with pytest.raises(IntegrityError):
            open_beneath(tmp_path, path)
    with pytest.raises(OSError, match="symbolic"):
        sha256_file(tmp_path / "link")


def test_no_descriptor_is_left_open(bundle: Path) -> None:
    opened = Bundle.open(bundle)
    before = len(os.listdir("/proc/self/fd"))
    opened.verify()
    (bundle / LICENSE).unlink()
    (bundle / LICENSE).symlink_to("nowhere")
    for _ in range(3):
        with pytest.raises(IntegrityError):
            opened.read(LICENSE)
    assert len(os.listdir("/proc/self/fd")) == before


@given(st.text(max_size=40) | st.from_regex(r"[./\\A-Za-z0-9_-]{1,12}", fullmatch=True))
def test_an_accepted_path_stays_below_its_root(path: str) -> None:
    try:
        check_relative_path(path)
    except IntegrityError:
        return
    root = Path("/srv/bundle")
    joined = os.path.normpath(root / path)
    assert joined == str(root / path)
    assert joined.startswith("/srv/bundle/")
    assert path.isascii()
    assert not {"\\", ":", "\0", " "} & set(path)


@given(st.lists(st.from_regex(r"[aAbB]{1,2}(/[aA]){0,2}", fullmatch=True), max_size=6))
def test_an_accepted_tree_can_be_made_on_a_file_system_that_folds_case(paths: list[str]) -> None:
    try:
        check_tree(paths)
    except IntegrityError:
        return
    assert len({path.casefold() for path in paths}) == len(paths)
    folders = {str(parent).casefold() for path in paths for parent in Path(path).parents}
    assert not folders & {path.casefold() for path in paths}


def test_a_listing_that_fails_is_an_integrity_error(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="cannot list the bundle"):
        walk_bundle(tmp_path / "none", {})


def test_files_are_written_below_an_open_folder_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    with opened_folder(tmp_path / "root") as root:
        size, digest = write_beneath(root, "a/b/c", [b"ab", b"c"])
        assert (size, digest) == (3, sha256_file(tmp_path / "root/a/b/c"))
        with pytest.raises(FileExistsError):
            write_beneath(root, "a/b/c", [b""])
        (tmp_path / "root/link").symlink_to(tmp_path / "outside")
        with pytest.raises(IntegrityError, match="was exchanged"):
            write_beneath(root, "link/x", [b""])
        check_written(root, tmp_path / "root")
        (tmp_path / "root").rename(tmp_path / "moved")
        with pytest.raises(IntegrityError, match="was exchanged"):
            check_written(root, tmp_path / "root")
        (tmp_path / "root").symlink_to(tmp_path / "moved")
        with pytest.raises(IntegrityError, match="was exchanged"):
            check_written(root, tmp_path / "root")
        write_beneath(root, "d", [b""])
    assert (tmp_path / "moved/d").exists()
    assert not list((tmp_path / "outside").iterdir())
    with pytest.raises(IntegrityError, match="was exchanged"), opened_folder(tmp_path / "root"):
        pass
