"""What an attack is, and the folder in which it is made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from tests.support.bundles import edit_manifest, entry_of

Base = Literal["onnx", "openvino", "signed", "onnx-archive", "signed-archive"]

REFUSED: Final = (5, 6)
NAME: Final = "tiny-here.bundle"
OUTSIDE_NAMES: Final = ("LICENSE", "bundle.json", "tokenizer.json", "weights.bin", "model.onnx")


@dataclass(frozen=True)
class Scene:
    """The folder of one attack: a `place` with the bundle in it, and an `outside` that nobody may touch."""

    root: Path

    @property
    def place(self) -> Path:
        return self.root / "place"

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    @property
    def bundle(self) -> Path:
        return self.place / NAME

    @property
    def archive(self) -> Path:
        return self.place / "tiny.tar"

    @property
    def output(self) -> Path:
        return self.place / "out"

    @property
    def record(self) -> Path:
        return self.place / f"{NAME}.tuning.json"

    @property
    def key(self) -> Path:
        return self.place / "key.pub"

    @property
    def texts(self) -> Path:
        return self.place / "texts.jsonl"

    def put(self, path: str, data: bytes) -> None:
        """Puts other bytes into a file of the bundle, and makes every digest agree with them."""
        (self.bundle / path).parent.mkdir(exist_ok=True)
        (self.bundle / path).write_bytes(data)
        self.list(path, len(data), hashlib.sha256(data).hexdigest())

    def list(self, path: str, size: int, sha256: str) -> None:
        """Lists a file in the manifest, in place of the entry that is there."""
        role = {"model": "model", "tokenizer": "tokenizer", "report": "report", "licenses": "license"}

        def edit(document: dict[str, object]) -> None:
            files = document["files"]
            assert isinstance(files, list)
            files[:] = [each for each in files if each["path"] != path]
            kind = role.get(path.split("/", 1)[0], "selftest")
            files.append({"path": path, "role": kind, "size": size, "sha256": sha256})

        edit_manifest(self.bundle, edit)

    def manifest(self) -> dict[str, object]:
        """What bundle.json says now."""
        found: dict[str, object] = json.loads((self.bundle / "bundle.json").read_bytes())
        return found


Make = Callable[[Scene], object]


@dataclass(frozen=True)
class Attack:
    """One hostile bundle or archive.

    Attributes:
        kind: the group that it is counted in.
        name: what it does, in words.
        commands: keys of `tests.bundle_attacks.commands.COMMANDS`, each run by itself on the same files.
        make: makes it of a benign bundle.
        base: the benign bundle or archive that it is made of.
        codes: the exit codes that are right; 0 for what is harmless, whose output is checked then.
        reason: why other codes than 5 and 6 are right.
        during: what happens while the command runs: a context in the process of the command.
    """

    kind: str
    name: str
    commands: tuple[str, ...]
    make: Make
    base: Base = "onnx"
    codes: tuple[int, ...] = REFUSED
    reason: str = ""
    during: Callable[[Scene], AbstractContextManager[object]] | None = None

    @property
    def id(self) -> str:
        return f"{self.kind}: {self.name}"


__all__ = ["NAME", "OUTSIDE_NAMES", "REFUSED", "Attack", "Base", "Make", "Scene", "edit_manifest", "entry_of"]
