"""Archives that `bertc pack` does not write."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal

from targets.bundle.digest import content_digest
from targets.bundle.schema import FileEntry
from tests.bundle_attacks.attack import NAME, Attack, Make, Scene
from tests.bundle_attacks.commands import UNPACKING
from tests.bundle_attacks.files import device, sparse

_BLOCK: Final = 512
_LAST: Final = -1
_GIB: Final = 1 << 30


def data(change: Callable[[bytes], bytes]) -> Make:
    """The archive's bytes, changed."""
    return lambda scene: scene.archive.write_bytes(change(scene.archive.read_bytes())) and None


def members(
    change: Callable[[list[tarfile.TarInfo]], object], form: Literal[0, 1, 2] = tarfile.USTAR_FORMAT
) -> Make:
    """The archive as another program would write it, of the same size as far as can be."""

    def edit(whole: bytes) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(whole)) as reader:
            found = reader.getmembers()
            contents = {each.name: reader.extractfile(each) for each in found}
            texts = {name: file.read() for name, file in contents.items() if file is not None}
            names = {id(each): each.name for each in found}
            change(found)
        blocks = []
        for each in found:
            text = texts.get(names.get(id(each), each.name), bytes(each.size))
            padding = bytes(-len(text) % _BLOCK)
            blocks += [each.tobuf(form, "utf-8", "surrogateescape"), text + padding if each.size else b""]
        return b"".join([*blocks, bytes(2 * _BLOCK)])

    return data(edit)


def header(place: slice, value: bytes, number: int = 0) -> Make:
    """Bytes of a file's header, its checksum made right again; `number` counts files from the first."""

    def edit(whole: bytes) -> bytes:
        start = 0
        for _ in range(number):
            size = int(whole[start + 124 : start + 135], 8)
            start += _BLOCK + size + -size % _BLOCK
        head = bytearray(whole[start : start + _BLOCK])
        head[place] = value.ljust(place.stop - place.start, b"\0")[: place.stop - place.start]
        head[148:156] = b" " * 8
        head[148:156] = b"%06o\0 " % sum(head)
        return whole[:start] + bytes(head) + whole[start + _BLOCK :]

    return data(edit)


def forged(edit: Callable[[dict[str, Any]], object], **contents: bytes) -> Make:
    """An archive in just the form of `bertc pack`, of a manifest that says what it likes."""

    def make(scene: Scene) -> None:
        with tarfile.open(scene.archive) as reader:
            files = {
                each.name.split("/", 1)[1]: file.read()
                for each in reader.getmembers()
                if (file := reader.extractfile(each)) is not None
            }
        files |= {name.replace("__", "/"): text for name, text in contents.items()}
        document = json.loads(files.pop("bundle.json"))
        del files["SHA256SUMS"]
        document["files"] = [
            {
                **each,
                "size": len(files[each["path"]]),
                "sha256": hashlib.sha256(files[each["path"]]).hexdigest(),
            }
            for each in document["files"]
        ]
        edit(document)
        entries = [FileEntry(**each) for each in document["files"]]
        document["content_digest"] = content_digest(entries)
        manifest = (json.dumps(document, sort_keys=True, indent=2) + "\n").encode()
        hashes = {each.path: each.sha256 for each in entries}
        hashes["bundle.json"] = hashlib.sha256(manifest).hexdigest()
        lines = "".join(f"{hashes[path]}  {path}\n" for path in sorted(hashes))
        parts = {"bundle.json": manifest, "SHA256SUMS": lines.encode()}
        listed = {each.path: files.get(each.path, b"do as you like") for each in entries}
        parts |= dict(sorted(listed.items()))
        blocks = []
        for path, text in parts.items():
            info = tarfile.TarInfo(f"{document['name']}-here.bundle/{path}")
            info.size, info.mtime = len(text), 315532800
            blocks += [info.tobuf(tarfile.USTAR_FORMAT), text, bytes(-len(text) % _BLOCK)]
        scene.archive.write_bytes(b"".join([*blocks, bytes(2 * _BLOCK)]))

    return make


def _license(**changes: object) -> Callable[[dict[str, Any]], object]:
    def edit(document: dict[str, Any]) -> None:
        next(each for each in document["files"] if each["path"] == "licenses/LICENSE").update(changes)

    return edit


def linked(kind: bytes, target: str = "../../outside/LICENSE") -> Make:
    def change(found: list[tarfile.TarInfo]) -> None:
        found[_LAST].type, found[_LAST].linkname, found[_LAST].size = kind, target, 0

    return members(change)


def named(name: str) -> Make:
    return members(lambda found: setattr(found[_LAST], "name", name))


def renamed(rename: Callable[[str], str]) -> Make:
    """All of its files under other names."""

    def change(found: list[tarfile.TarInfo]) -> None:
        for each in found:
            each.name = rename(each.name)

    return members(change)


def special(put: Callable[[Path], object]) -> Make:
    def make(scene: Scene) -> None:
        scene.archive.unlink()
        put(scene.archive)

    return make


def _zip(whole: bytes) -> bytes:
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("../../outside/LICENSE", bytes(1 << 24) + whole)
    return found.getvalue()


def _first(whole: bytes) -> int:
    """Where the second file's header begins."""
    size = int(whole[124:135], 8)
    return _BLOCK + size + -size % _BLOCK


def _padded(whole: bytes) -> bytes:
    size = int(whole[124:135], 8)
    place = _BLOCK + size
    return whole[:place] + b"x" + whole[place + 1 :]


def _link_first(found: list[tarfile.TarInfo]) -> None:
    """A folder that is a link, and a file below it."""
    link = tarfile.TarInfo(f"{NAME}/licenses")
    link.type, link.linkname = tarfile.SYMTYPE, "../../../outside"
    found.insert(2, link)


_FORGED: Final[dict[str, Make]] = {
    "nothing": data(lambda _: b""),
    "one byte": data(lambda _: b"x"),
    "a header alone": data(lambda whole: whole[:_BLOCK]),
    "half a header": data(lambda whole: whole[:300]),
    "cut in the manifest": data(lambda whole: whole[: _BLOCK + 100]),
    "cut behind the manifest": data(lambda whole: whole[: _first(whole)]),
    "cut in the sums": data(lambda whole: whole[: _first(whole) + _BLOCK + 10]),
    "cut in a file": data(lambda whole: whole[: len(whole) // 2]),
    "without its end": data(lambda whole: whole[: -2 * _BLOCK]),
    "without half of its end": data(lambda whole: whole[:-_BLOCK]),
    "something behind its end": data(lambda whole: whole + bytes(_BLOCK)),
    "another archive behind its end": data(lambda whole: whole + whole),
    "something in its end": data(lambda whole: whole[:-1] + b"x"),
    "something in the padding": data(_padded),
    "4 GiB of zeros": special(lambda path: sparse(path, 4 * _GIB)),
    "4 GiB of zeros behind it": lambda scene: os.truncate(scene.archive, 4 * _GIB),
    "a zip file": data(_zip),
    "a bomb of gzip": data(lambda _: gzip.compress(bytes(1 << 26), 1)),
    "a bomb of xz": data(lambda _: lzma.compress(bytes(1 << 24), preset=0)),
    "a bomb of bzip2": data(lambda _: bz2.compress(bytes(1 << 24), 1)),
    "an archive in gzip": data(gzip.compress),
    "as tar pads it": data(lambda whole: whole + bytes(-len(whole) % 10240)),
    "another order": members(lambda found: found.reverse()),
    "two files exchanged": members(lambda found: found.insert(3, found.pop(4))),
    "a file twice": members(lambda found: found.append(found[_LAST])),
    "the manifest twice": members(lambda found: found.insert(1, found[0])),
    "a file less": members(lambda found: found.pop()),
    "no manifest": members(lambda found: found.pop(0)),
    "another time": members(lambda found: setattr(found[2], "mtime", 1)),
    "another owner": members(lambda found: setattr(found[2], "uid", 1)),
    "set-uid": members(lambda found: setattr(found[2], "mode", 0o4755)),
    "another folder": renamed(lambda name: name.replace("tiny", "huge")),
    "a folder before it": renamed(lambda name: f"x/{name}"),
    "no folder": renamed(lambda name: name.split("/", 1)[1]),
    "a name of the parent": named(f"{NAME}/../../outside/LICENSE"),
    "a name of the parent's parent": named("../../../outside/LICENSE"),
    "an absolute name": named("/tmp/bertc-attack"),
    "a name with a backslash": named(f"{NAME}\\..\\x"),
    "a name with an escape": named(f"{NAME}/\x1b[2J"),
    "a name that is cut by a zero": header(slice(0, 100), b"tiny-here.bundle/bundle.json\0x", 0),
    "a symbolic link": linked(tarfile.SYMTYPE),
    "a symbolic link to /etc/passwd": linked(tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": linked(tarfile.LNKTYPE),
    "a fifo": linked(tarfile.FIFOTYPE),
    "a character device": linked(tarfile.CHRTYPE),
    "a block device": linked(tarfile.BLKTYPE),
    "a folder that is a link": members(_link_first),
    "a header of pax": members(
        lambda found: setattr(found[2], "pax_headers", {"path": "../../outside/LICENSE"}), tarfile.PAX_FORMAT
    ),
    "a long name of GNU": members(lambda found: setattr(found[_LAST], "name", "x" * 300), tarfile.GNU_FORMAT),
    "a sparse file of GNU": header(slice(156, 157), b"S", 2),
    "a global header of pax": header(slice(156, 157), b"g", 0),
    "a multi-volume archive": header(slice(156, 157), b"M", 0),
    "a wrong checksum": data(lambda whole: whole[:150] + b"7" + whole[151:]),
    "a size that is negative": header(slice(124, 136), b"-0000000001", 0),
    "a size of base 256": header(slice(124, 136), b"\x80" + bytes(10) + b"\x01", 0),
    "a size of base 256 below 0": header(slice(124, 136), b"\xff" * 12, 0),
    "a size of 8 GiB": header(slice(124, 136), b"77777777777", 0),
    "a size that is no number": header(slice(124, 136), b"99999999999", 0),
    "a size of nothing": header(slice(124, 136), b"", 0),
    "a size of 0": header(slice(124, 136), b"00000000000", 0),
    "a size in other digits": header(slice(124, 136), "\u0663\u0663".encode(), 0),
    "a size of one less": header(slice(124, 136), b"00000000001", 2),
    "a flipped bit in a file": data(lambda whole: whole[: -3 * _BLOCK] + b"X" + whole[-3 * _BLOCK + 1 :]),
    "a license whose hash is another": forged(_license(sha256="0" * 64)),
    "a manifest that lists the parent": forged(_license(path="../../outside/LICENSE")),
    "a manifest that lists an absolute path": forged(_license(path="/tmp/bertc-attack")),
    "a manifest that lists the manifest": forged(_license(path="bundle.json")),
    "a manifest that lists its signature": forged(_license(path="bundle.json.sig")),
    "a manifest that lists twins in case": forged(
        lambda d: d["files"].append(
            {**d["files"][0], "path": d["files"][0]["path"].upper(), "role": "license"}
        )
    ),
    "a manifest of another name": forged(lambda d: d.update(name="..")),
    "a manifest of a name with a slash": forged(lambda d: d.update(name="../x")),
    "a manifest of the next major version": forged(lambda d: d.update(schema_version="2.0")),
    "a manifest that lists 4 GiB": forged(_license(size=4 * _GIB)),
    "a manifest that lists less than there is": forged(_license(size=1)),
}

_NO_FILES: Final[dict[str, Make]] = {
    "a fifo in its place": special(os.mkfifo),
    "a folder in its place": special(Path.mkdir),
    "/dev/zero in its place": special(device(stat.S_IFCHR, 1, 5)),
    "nothing in its place": special(lambda _: None),
    "a link to nowhere in its place": special(lambda path: path.symlink_to("nowhere")),
}


def _taken(scene: Scene) -> None:
    scene.output.mkdir()
    (scene.output / NAME).symlink_to(scene.outside)


ATTACKS: Final = (
    *(Attack("archive", name, UNPACKING, make, base="onnx-archive") for name, make in _FORGED.items()),
    *(
        Attack("archive", name, UNPACKING, make, base="onnx-archive", codes=(2,), reason="it is no file")
        for name, make in _NO_FILES.items()
    ),
    Attack(
        "archive",
        "a link where the bundle is to be",
        UNPACKING,
        _taken,
        base="onnx-archive",
        codes=(2,),
        reason="something is there already",
    ),
)
