"""Bundles made by someone who means harm, or damaged on the way: each is refused, and why is said."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.bundle.digest import read_bounded, read_verified, sha256_file
from targets.bundle.paths import check_relative_path, check_tree, open_beneath, walk_bundle
from targets.bundle.reader import Bundle
from targets.errors import IntegrityError
from tests.support.bundles import edit_manifest, entry_of, write_sample

Attack = Callable[[Path], object]

LICENSE = "licenses/LICENSE"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_sample(tmp_path / "tiny.bundle").path


def renamed(path: str) -> Attack:
    return lambda root: edit_manifest(root, lambda d: entry_of(d, LICENSE).update(path=path))


def twin(path: str) -> Attack:
    return lambda root: edit_manifest(
        root, lambda d: d["files"].append({**entry_of(d, LICENSE), "path": path})
    )


def linked(root: Path) -> None:
    outside = root.parent / "outside"
    shutil.copy(root / LICENSE, outside)
    (root / LICENSE).unlink()
    (root / LICENSE).symlink_to(outside)


def linked_folder(root: Path) -> None:
    (root / "licenses").rename(root.parent / "licenses")
    (root / "licenses").symlink_to(root.parent / "licenses")


def linked_manifest(root: Path) -> None:
    (root / "bundle.json").rename(root.parent / "outside.json")
    (root / "bundle.json").symlink_to(root.parent / "outside.json")


def fifo(root: Path) -> None:
    (root / LICENSE).unlink()
    os.mkfifo(root / LICENSE)


def bound_socket(root: Path) -> None:
    (root / LICENSE).unlink()
    here = os.open(root / "licenses", os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{here}/LICENSE")
    finally:
        os.close(here)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as stream:
        stream.write(data)


def replaced_by_folder(root: Path) -> None:
    (root / LICENSE).unlink()
    (root / LICENSE).mkdir()


def replaced_by_file(root: Path) -> None:
    shutil.rmtree(root / "licenses")
    (root / "licenses").write_bytes(b"")


OPEN_ATTACKS: dict[str, tuple[Attack, str]] = {
    "parent": (renamed("../outside"), "not a plain relative path"),
    "parent inside": (renamed("licenses/../../outside"), "not a plain relative path"),
    "absolute": (renamed("/etc/passwd"), "not a plain relative path"),
    "current": (renamed("licenses/./LICENSE"), "not a plain relative path"),
    "double slash": (renamed("licenses//LICENSE"), "not a plain relative path"),
    "trailing slash": (renamed("licenses/"), "not a plain relative path"),
    "backslash": (renamed("licenses\\LICENSE"), "not a plain relative path"),
    "drive": (renamed("C:/LICENSE"), "not a plain relative path"),
    "stream": (renamed("licenses/LICENSE:x"), "not a plain relative path"),
    "hidden": (renamed("licenses/.LICENSE"), "not a plain relative path"),
    "option": (renamed("licenses/-rf"), "not a plain relative path"),
    "trailing dot": (renamed("licenses/LICENSE."), "not a plain relative path"),
    "space": (renamed("licenses/LICENSE "), "not a plain relative path"),
    "newline": (renamed("licenses/LICENSE\n"), "control character"),
    "nul": (renamed("licenses/LICENSE\0"), "control character"),
    "unicode": (renamed("licenses/LİCENSE"), "not a plain relative path"),
    "long": (renamed("licenses/" + "a" * 240), "longer than 240"),
    "long name": (renamed("licenses/" + "a" * 129), "not a plain relative path"),
    "deep": (renamed("licenses/" + "a/" * 8 + "a"), "deeper than 8"),
    "twice": (twin(LICENSE), "is listed twice"),
    "case twins": (twin("licenses/license"), "differ only in case"),
    "folder case twins": (twin("Licenses/OTHER"), "differ only in case"),
    "file as folder": (twin("licenses/LICENSE/more"), "is a file and a folder"),
    "symbolic link": (linked, "is a symbolic link"),
    "linked folder": (linked_folder, "is a symbolic link"),
    "linked manifest": (linked_manifest, "cannot open bundle.json"),
    "dangling link": (lambda root: (root / "model/x").symlink_to("nowhere"), "is a symbolic link"),
    "hard link": (lambda root: os.link(root / LICENSE, root.parent / "outside"), "is a hard link"),
    "hard linked sums": (
        lambda root: os.link(root / "SHA256SUMS", root.parent / "outside"),
        "is a hard link",
    ),
    "fifo": (fifo, "is not a regular file"),
    "socket": (bound_socket, "is not a regular file"),
    "folder for a file": (replaced_by_folder, "folder 'licenses/LICENSE' is not in the manifest"),
    "file for a folder": (replaced_by_file, "'licenses' must be a folder"),
    "unlisted file": (lambda root: (root / "model/lib.so").write_bytes(b"x"), "'model/lib.so' is not in the"),
    "unlisted at the root": (lambda root: (root / "x.py").write_bytes(b""), "'x.py' is not in the manifest"),
    "unlisted folder": (lambda root: (root / "cache").mkdir(), "folder 'cache' is not in the manifest"),
    "hidden file": (lambda root: (root / ".x").write_bytes(b""), "'.x' is not in the manifest"),
    "missing file": (lambda root: (root / LICENSE).unlink(), "licenses/LICENSE is missing"),
    "missing sums": (lambda root: (root / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
    "longer file": (lambda root: append(root / LICENSE, b"x"), "the manifest says"),
    "truncated model": (
        lambda root: os.truncate(root / "model/model.onnx", 7),
        "has 7 bytes, the manifest says",
    ),
    "wrong declared size": (
        lambda root: edit_manifest(root, lambda d: entry_of(d, LICENSE).update(size=1)),
        "the manifest says 1",
    ),
    "oversized manifest": (
        lambda root: append(root / "bundle.json", b" " * 1024 * 1024),
        "bundle.json is larger than 1048576 bytes",
    ),
    "empty manifest": (lambda root: os.truncate(root / "bundle.json", 0), "is not JSON"),
    "unknown major": (
        lambda root: edit_manifest(root, lambda d: d.update(schema_version="2.0")),
        "schema version 2.0 is not known",
    ),
    "terminal escape in a label": (
        lambda root: edit_manifest(root, lambda d: d["task_config"].update(labels=["\x1b[2J"])),
        "control character",
    ),
}


@pytest.mark.parametrize(("attack", "message"), OPEN_ATTACKS.values(), ids=OPEN_ATTACKS)
def test_open_refuses(attack: Attack, message: str, bundle: Path) -> None:
    attack(bundle)
    with pytest.raises(IntegrityError, match=message) as caught:
        Bundle.open(bundle)
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_open_refuses_a_digest_of_other_content(bundle: Path) -> None:
    text = (bundle / "bundle.json").read_text(encoding="utf-8")
    digest = Bundle.open(bundle).manifest.content_digest
    (bundle / "bundle.json").write_text(text.replace(digest, "sha256:" + "0" * 64), encoding="utf-8")
    with pytest.raises(IntegrityError, match="content_digest does not agree"):
        Bundle.open(bundle)


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


@pytest.mark.parametrize("swap", [linked, linked_folder, fifo, bound_socket, replaced_by_folder])
def test_a_file_swapped_after_opening_is_not_followed(bundle: Path, swap: Attack) -> None:
    opened = Bundle.open(bundle)
    swap(bundle)
    with pytest.raises(IntegrityError):
        opened.read(LICENSE)


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
    linked(bundle)
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
