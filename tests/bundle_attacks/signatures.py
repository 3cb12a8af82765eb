"""Signatures that are missing, or of something else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from targets.bundle.archive import pack
from targets.bundle.reader import Bundle
from targets.bundle.signature import generate_key, load_private_key
from tests.bundle_attacks.attack import Attack, Make, Scene, edit_manifest

_KEYED: Final = ("verify --key",)
_NAME: Final = "bundle.json.sig"


def changed(change: Callable[[bytes], bytes]) -> Make:
    def make(scene: Scene) -> None:
        path = scene.bundle / _NAME
        path.write_bytes(change(path.read_bytes()))

    return make


def by_another_key(scene: Scene) -> None:
    generate_key(scene.root / "other")
    Bundle.open(scene.bundle).sign(load_private_key(scene.root / "other"), force=True)


def of_another_manifest(scene: Scene) -> None:
    """The right key's signature, of what the manifest was before."""
    edit_manifest(scene.bundle, lambda d: d["task_config"].update(labels=["positive", "negative"]))


def in_place(put: Callable[[Scene, Path], object]) -> Make:
    def make(scene: Scene) -> None:
        path = scene.bundle / _NAME
        shutil.copy(path, scene.outside / "folder" / _NAME)
        path.unlink()
        put(scene, path)

    return make


def folder(scene: Scene, path: Path) -> None:
    del scene
    path.mkdir()


def archived(make: Make) -> Make:
    """Packed after it was changed."""

    def packed(scene: Scene) -> None:
        shutil.copytree(scene.root.parent / "samples" / "signed" / scene.bundle.name, scene.bundle)
        make(scene)
        scene.archive.unlink()
        pack(Bundle.open(scene.bundle), scene.archive)
        shutil.rmtree(scene.bundle)

    return packed


_SIGNED: Final[dict[str, Make]] = {
    "no signature": lambda scene: (scene.bundle / _NAME).unlink(),
    "a signature by another key": by_another_key,
    "a signature of another manifest": of_another_manifest,
    "a signature of zeros": changed(lambda _: bytes(64)),
    "a signature with a flipped bit": changed(lambda data: bytes([data[0] ^ 1]) + data[1:]),
    # RFC 8032, 5.1.7: the second half must be below the order of the group, or there are two for a text.
    "a signature and the order of the group": changed(
        lambda data: (
            data[:32]
            + (
                int.from_bytes(data[32:], "little") + 2**252 + 27742317777372353535851937790883648493
            ).to_bytes(32, "little")
        )
    ),
    "an empty signature": changed(lambda _: b""),
    "a signature of 63 bytes": changed(lambda data: data[:-1]),
    "a signature of 65 bytes": changed(lambda data: data + b"\n"),
    "a signature in hexadecimal": changed(lambda data: data.hex().encode()),
    "a signature of 4 GiB": lambda scene: os.truncate(scene.bundle / _NAME, 4 << 30),
    "a signature that is a symbolic link": in_place(
        lambda scene, path: path.symlink_to(scene.outside / "folder" / _NAME)
    ),
    "a signature that is a hard link": in_place(
        lambda scene, path: os.link(scene.outside / "folder" / _NAME, path)
    ),
    "a signature that is a fifo": in_place(lambda _, path: os.mkfifo(path)),
    "a signature that is a folder": in_place(folder),
}
_UNKEYED: Final = (
    "an empty signature",
    "a signature of 4 GiB",
    "a signature that is a symbolic link",
    "a signature that is a hard link",
    "a signature that is a fifo",
    "a signature that is a folder",
)
_RSA: Final = b"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7 x\n"
_KEYS: Final[dict[str, Callable[[Scene], object]]] = {
    "a key that is none": lambda scene: scene.key.write_bytes(b"\x1b[2J"),
    "a key of 1 GiB": lambda scene: os.truncate(scene.key, 1 << 30),
    "a key of another type": lambda scene: scene.key.write_bytes(_RSA),
}

ATTACKS: Final = (
    *(Attack("signature", name, _KEYED, make, base="signed") for name, make in _SIGNED.items()),
    *(
        Attack("signature", f"{name}, with no key given", ("verify", "run"), _SIGNED[name], base="signed")
        for name in _UNKEYED
    ),
    *(
        Attack("signature", f"an archive: {name}", ("unpack --key",), archived(make), base="signed-archive")
        for name, make in (
            ("no signature", _SIGNED["no signature"]),
            ("a signature by another key", by_another_key),
            ("a signature of another manifest", of_another_manifest),
            ("a signature of zeros", _SIGNED["a signature of zeros"]),
        )
    ),
    *(
        Attack(
            "signature",
            name,
            _KEYED,
            make,
            base="signed",
            codes=(2,),
            reason="the user's own key is at fault",
        )
        for name, make in _KEYS.items()
    ),
)
