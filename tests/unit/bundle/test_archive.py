"""One file for shipping: the same bytes each time, and no other bytes accepted."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.package import write_bundle
from targets.bundle.archive import folder_name, pack, unpack
from targets.bundle.reader import Bundle
from targets.bundle.signature import generate_key, load_private_key
from targets.errors import IntegrityError, UnsupportedError, UsageError
from tests.support.bundles import FILES, sample_manifest, write_sample

NAME = "tiny-x86-64-vnni.bundle"


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return pack(write_sample(tmp_path / NAME), tmp_path / "a.tar").path


def test_what_was_packed_is_unpacked(archive: Path, tmp_path: Path) -> None:
    bundle = unpack(archive, tmp_path / "new/folder")
    assert bundle.path == tmp_path / "new/folder" / NAME
    assert content(bundle.path) == content(tmp_path / NAME)
    assert folder_name(bundle.manifest) == NAME
    bundle.verify()


def test_the_same_bundle_gives_the_same_bytes(archive: Path, tmp_path: Path) -> None:
    again = write_sample(tmp_path / "under another name")
    for path in again.path.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert pack(again, tmp_path / "b.tar").path.read_bytes() == archive.read_bytes()


def test_any_tar_reads_it(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as reader:
        members = reader.getmembers()
        assert [each.name for each in members[:2]] == [f"{NAME}/bundle.json", f"{NAME}/SHA256SUMS"]
        assert [each.name for each in members[2:]] == sorted(f"{NAME}/{path}" for path in FILES)
        assert {(each.mtime, each.uid, each.gid, each.uname, each.mode) for each in members} == {
            (315532800, 0, 0, "", 0o644)
        }
        reader.extractall(tmp_path / "by tar", filter="data")
    assert Bundle.open(tmp_path / "by tar" / NAME).verify().files == len(FILES) + 1


def test_a_signature_travels_and_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    public = generate_key(tmp_path / "key")
    other = generate_key(tmp_path / "other")
    bundle = write_sample(tmp_path / NAME)
    plain = pack(bundle, tmp_path / "plain.tar").path
    bundle.sign(load_private_key(tmp_path / "key"))
    signed = pack(bundle, tmp_path / "signed.tar").path
    assert unpack(signed, tmp_path / "out", key=public).verify().signed
    for archive, key, message in ((signed, other, "not by this key"), (plain, public, "is not signed")):
        with pytest.raises(IntegrityError, match=message):
            unpack(archive, tmp_path / "none", key=key)
    with pytest.raises(IntegrityError, match="has the id"):
        unpack(signed, tmp_path / "none", expect_id="0" * 64)
    assert not (tmp_path / "none").exists()
    assert unpack(signed, tmp_path / "by id", expect_id=bundle.id).id == bundle.id


def test_outputs_that_are_there(archive: Path, tmp_path: Path) -> None:
    bundle = Bundle.open(tmp_path / NAME)
    with pytest.raises(UsageError, match="exists already"):
        pack(bundle, archive)
    before = archive.read_bytes()
    assert pack(bundle, archive, force=True).path.read_bytes() == before
    with pytest.raises(UsageError, match="exists already"):
        pack(bundle, tmp_path, force=True)
    with pytest.raises(UsageError, match="cannot write"):
        pack(bundle, tmp_path / "none/a.tar")
    with pytest.raises(UsageError, match="exists already"):
        unpack(archive, tmp_path)
    assert unpack(archive, tmp_path, force=True).id == bundle.id
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", NAME]


def test_a_damaged_bundle_is_not_packed(tmp_path: Path) -> None:
    bundle = write_sample(tmp_path / NAME)
    (bundle.path / "model/model.onnx").write_bytes(b"ONNX" * 300)
    with pytest.raises(IntegrityError, match="is not what the manifest says"):
        pack(bundle, tmp_path / "a.tar")
    assert not (tmp_path / "a.tar").exists()


def test_a_file_that_changes_while_it_is_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_sample(tmp_path / NAME)
    model = bundle.path / "model/model.onnx"
    monkeypatch.setattr(Bundle, "verify", lambda _: model.write_bytes(b"x" * 1200))
    with pytest.raises(IntegrityError, match="is not what the manifest says"):
        pack(bundle, tmp_path / "a.tar")
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def test_a_path_that_no_archive_holds(tmp_path: Path) -> None:
    files = {**FILES, "licenses/" + "a" * 110: FILES["licenses/LICENSE"]}
    bundle = write_bundle(tmp_path / "b", sample_manifest(), files)
    with pytest.raises(UnsupportedError, match="cannot hold the path"):
        pack(bundle, tmp_path / "a.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_long_name_is_split_as_tar_does(tmp_path: Path) -> None:
    manifest = replace(sample_manifest(), name="n" * 96)
    packed = pack(write_bundle(tmp_path / "b", manifest, FILES), tmp_path / "a.tar")
    assert unpack(packed.path, tmp_path).path.name == "n" * 96 + "-x86-64-vnni.bundle"


def block(archive: bytes, number: int) -> slice:
    assert len(archive) % 512 == 0
    return slice(512 * number, 512 * (number + 1))


def rewritten(change: Callable[[list[tarfile.TarInfo]], None]) -> Callable[[bytes], bytes]:
    """The archive as another program would write it."""

    def call(data: bytes) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(data)) as reader:
            members = reader.getmembers()
            files = {each.name: reader.extractfile(each) for each in members}
            contents = {name: file.read() for name, file in files.items() if file is not None}
            change(members)
            written = io.BytesIO()
            with tarfile.open(fileobj=written, mode="w", format=tarfile.USTAR_FORMAT) as writer:
                for each in members:
                    writer.addfile(each, io.BytesIO(contents.get(each.name, bytes(each.size))))
        return written.getvalue()

    return call


def link(kind: bytes) -> Callable[[list[tarfile.TarInfo]], None]:
    def change(members: list[tarfile.TarInfo]) -> None:
        members[-1].type, members[-1].linkname, members[-1].size = kind, "/etc/passwd", 0

    return change


FORGED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "a header alone": lambda data: data[:512],
    "without its end": lambda data: data[:-512],
    "something behind its end": lambda data: data + b"\0" * 512,
    "as tar pads it": rewritten(lambda _: None),
    "another order": rewritten(lambda members: members.reverse()),
    "another time": rewritten(lambda members: setattr(members[2], "mtime", 1)),
    "executable": rewritten(lambda members: setattr(members[2], "mode", 0o4755)),
    "another name": rewritten(lambda members: setattr(members[2], "name", f"{NAME}/../../x")),
    "absolute": rewritten(lambda members: setattr(members[2], "name", "/tmp/x")),
    "a symbolic link": rewritten(link(tarfile.SYMTYPE)),
    "a hard link": rewritten(link(tarfile.LNKTYPE)),
    "a fifo": rewritten(link(tarfile.FIFOTYPE)),
    "a device": rewritten(link(tarfile.CHRTYPE)),
    "a file twice": rewritten(lambda members: members.append(members[-1])),
    "a file less": rewritten(lambda members: members.clear()),
    "a zip": lambda data: b"PK\x03\x04" + data,
    "gzip": lambda data: b"\x1f\x8b\x08" + data,
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED)
def test_what_pack_does_not_write_is_refused(
    archive: Path, forge: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    archive.write_bytes(forge(archive.read_bytes()))
    with pytest.raises(IntegrityError) as caught:
        unpack(archive, tmp_path / "out")
    assert caught.value.message.startswith("a.tar")
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name in ("fifo", ".", "none", "n\0"):
        with pytest.raises(UsageError):
            unpack(tmp_path / name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("packed")
    return pack(write_sample(folder / NAME), folder / "a.tar").path.read_bytes()


@given(data=st.data())
def test_any_change_is_refused_and_leaves_nothing(
    packed: bytes, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    count = len(packed) // 512
    blocks = [packed[block(packed, number)] for number in range(count)]
    first, second = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, count - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "drop", "repeat", "swap"]))
    if kind == "flip":
        place = data.draw(st.integers(0, len(packed) * 8 - 1))
        changed = bytearray(packed)
        changed[place // 8] ^= 1 << place % 8
        forged = bytes(changed)
    elif kind == "cut":
        forged = packed[: data.draw(st.integers(0, len(packed) - 1))]
    elif kind == "drop":
        forged = b"".join(blocks[:first] + blocks[first + 1 :])
    elif kind == "repeat":
        forged = b"".join([*blocks[:first], blocks[second], *blocks[first:]])
    else:
        blocks[first], blocks[second] = blocks[second], blocks[first]
        forged = b"".join(blocks)
    folder = tmp_path_factory.mktemp("forged")
    (folder / "a.tar").write_bytes(forged)
    if forged == packed:
        return
    with pytest.raises(IntegrityError):
        unpack(folder / "a.tar", folder / "out")
    assert [path.name for path in folder.iterdir()] == ["a.tar"]
