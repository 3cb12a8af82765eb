"""Files and folders on disk that are not what the manifest lists."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.bundle_attacks.attack import Attack, Make, Scene, edit_manifest, entry_of
from tests.bundle_attacks.commands import OPENING

MODEL: Final = "model/model.onnx"
LICENSE: Final = "licenses/LICENSE"
_GIB: Final = 1 << 30


def linked(path: str, *, same: bool = True) -> Make:
    """A file as a symbolic link to one outside, of the same content or not."""

    def make(scene: Scene) -> None:
        target = scene.outside / Path(path).name
        if same:
            shutil.copy(scene.bundle / path, target)
        (scene.bundle / path).unlink()
        (scene.bundle / path).symlink_to(os.path.relpath(target, (scene.bundle / path).parent))

    return make


def hard_linked(path: str) -> Make:
    def make(scene: Scene) -> None:
        (scene.outside / "linked").unlink(missing_ok=True)
        os.link(scene.bundle / path, scene.outside / "linked")

    return make


def linked_folder(scene: Scene) -> None:
    shutil.copytree(scene.bundle / "licenses", scene.outside / "licenses")
    shutil.rmtree(scene.bundle / "licenses")
    (scene.bundle / "licenses").symlink_to(scene.outside / "licenses")


def in_place_of(path: str, put: Callable[[Path], object]) -> Make:
    def make(scene: Scene) -> None:
        (scene.bundle / path).unlink()
        put(scene.bundle / path)

    return make


def bind(path: Path) -> None:
    """A socket; its own path may be too long for one."""
    here = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def device(kind: int, major: int, minor: int) -> Callable[[Path], object]:
    """A device node, or where only root may make one, a fifo."""

    def put(path: Path) -> None:
        try:
            os.mknod(path, kind | 0o666, os.makedev(major, minor))
        except PermissionError:
            os.mkfifo(path)

    return put


def file_for_folder(scene: Scene) -> None:
    shutil.rmtree(scene.bundle / "licenses")
    (scene.bundle / "licenses").write_bytes(b"")


def sparse(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


def append(path: str, data: bytes) -> Make:
    def make(scene: Scene) -> None:
        with (scene.bundle / path).open("ab") as stream:
            stream.write(data)

    return make


def flip(path: str) -> Make:
    def make(scene: Scene) -> None:
        data = bytearray((scene.bundle / path).read_bytes())
        data[len(data) // 2] ^= 1
        (scene.bundle / path).write_bytes(data)

    return make


def declared(path: str, size: int) -> Make:
    """A sparse file, of the size that the manifest says."""

    def make(scene: Scene) -> None:
        sparse(scene.bundle / path, size)
        scene.list(path, size, "0" * 64)

    return make


def many(scene: Scene) -> None:
    for number in range(500):
        (scene.bundle / "model" / str(number)).touch()


def deep(scene: Scene) -> None:
    folder = scene.bundle
    for _ in range(200):
        folder /= "d"
        folder.mkdir()


def linked_to_itself(scene: Scene) -> None:
    (scene.bundle / LICENSE).unlink()
    (scene.bundle / LICENSE).symlink_to("LICENSE")


def terminal_name(scene: Scene) -> None:
    (scene.bundle / "\x1b]0;title\x07\x1b[2J\u202efile\n").write_bytes(b"")


def byte_name(scene: Scene) -> None:
    with open(os.path.join(os.fsencode(scene.bundle), b"\xff\xfe"), "wb"):
        pass


_OPEN: Final[dict[str, Make]] = {
    "the license a symbolic link": linked(LICENSE),
    "the model a symbolic link": linked(MODEL),
    "the tokenizer a symbolic link": linked("tokenizer/tokenizer.json"),
    "the manifest a symbolic link": linked("bundle.json"),
    "the sums a symbolic link": linked("SHA256SUMS", same=False),
    "a folder a symbolic link": linked_folder,
    "a dangling link": lambda scene: (scene.bundle / "model/x").symlink_to("nowhere"),
    "a link to itself": linked_to_itself,
    "the license a hard link": hard_linked(LICENSE),
    "the model a hard link": hard_linked(MODEL),
    "the sums a hard link": hard_linked("SHA256SUMS"),
    "the manifest a hard link": hard_linked("bundle.json"),
    "a fifo": in_place_of(LICENSE, os.mkfifo),
    "the manifest a fifo": in_place_of("bundle.json", os.mkfifo),
    "the sums a fifo": in_place_of("SHA256SUMS", os.mkfifo),
    "a socket": in_place_of(LICENSE, bind),
    "a character device": in_place_of(LICENSE, device(stat.S_IFCHR, 1, 5)),
    "the manifest /dev/zero": in_place_of("bundle.json", device(stat.S_IFCHR, 1, 5)),
    "a block device": in_place_of(MODEL, device(stat.S_IFBLK, 7, 0)),
    "the manifest a folder": in_place_of("bundle.json", Path.mkdir),
    "a folder for a file": in_place_of(LICENSE, Path.mkdir),
    "a file for a folder": file_for_folder,
    "an unlisted library": lambda scene: (scene.bundle / "model/libort.so").write_bytes(b"\x7fELF"),
    "an unlisted module at the top": lambda scene: (scene.bundle / "x.py").write_bytes(b""),
    "an unlisted folder": lambda scene: (scene.bundle / "cache").mkdir(),
    "a hidden file": lambda scene: (scene.bundle / ".x").write_bytes(b""),
    "a name of terminal escapes": terminal_name,
    "a name that is not UTF-8": byte_name,
    "500 unlisted files": many,
    "200 unlisted folders in each other": deep,
    "a missing license": lambda scene: (scene.bundle / LICENSE).unlink(),
    "a missing model": lambda scene: (scene.bundle / MODEL).unlink(),
    "missing sums": lambda scene: (scene.bundle / "SHA256SUMS").unlink(),
    "a longer license": append(LICENSE, b"x"),
    "a model cut short": lambda scene: os.truncate(scene.bundle / MODEL, 7),
    "an empty manifest": lambda scene: os.truncate(scene.bundle / "bundle.json", 0),
    "a size that is not the file's": lambda scene: edit_manifest(
        scene.bundle, lambda d: entry_of(d, LICENSE).update(size=1)
    ),
    "a sparse file of 4 GiB, unlisted": lambda scene: sparse(scene.bundle / "model/x", 4 * _GIB),
    "a sparse file of 4 GiB in place of the license": lambda scene: os.truncate(
        scene.bundle / LICENSE, 4 * _GIB
    ),
    "a sparse license of 4 GiB, listed": declared(LICENSE, 4 * _GIB),
    "a sparse tokenizer of 4 GiB, listed": declared("tokenizer/tokenizer.json", 4 * _GIB),
    "a sparse self-test of 4 GiB, listed": declared("selftest.json", 4 * _GIB),
    "a sparse ONNX model of 4 GiB, listed": declared(MODEL, 4 * _GIB),
    "a sparse manifest of 4 GiB": lambda scene: os.truncate(scene.bundle / "bundle.json", 4 * _GIB),
}


def _gone(scene: Scene) -> None:
    (scene.bundle / "bundle.json").unlink()


ATTACKS: Final = (
    *(Attack("files", name, OPENING, make) for name, make in _OPEN.items()),
    Attack("files", "a flipped bit in the model", ("verify", "run", "selftest", "pack"), flip(MODEL)),
    Attack("files", "a flipped bit in the license", ("verify", "pack"), flip(LICENSE)),
    Attack("files", "a flipped bit in the tokenizer", ("verify", "run"), flip("tokenizer/tokenizer.json")),
    Attack("files", "a flipped bit in the self-test", ("verify", "selftest"), flip("selftest.json")),
    Attack("files", "a flipped bit in the sums", ("verify", "pack"), flip("SHA256SUMS")),
    Attack("files", "sums with a line more", ("verify",), append("SHA256SUMS", b"0" * 64 + b"  x\n")),
    Attack(
        "files", "sparse sums of 4 GiB", ("verify",), lambda s: os.truncate(s.bundle / "SHA256SUMS", 4 * _GIB)
    ),
    Attack("files", "a sparse model of 1 GiB, listed", ("verify",), declared(MODEL, _GIB)),
    Attack("files", "no manifest", OPENING, _gone, codes=(2,), reason="there is no bundle"),
)
