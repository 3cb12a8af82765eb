"""Compiles on disks that are full: small ones that only a child of this process sees, and limits on files."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.forked import Place, command_line, forked
from tests.support.kills import Killer

_NEW_MOUNTS: Final = 0x00020000
_NEW_USER: Final = 0x10000000
_PRIVATE: Final = (1 << 14) | (1 << 18)


@dataclass(frozen=True)
class Disk:
    """A folder of `Place` that is a small disk.

    Attributes:
        folder: "out", "temporary" or "cache".
        kilobytes: its size.
        options: of the compile.
        older: the runtime of a bundle that is at the output before.
    """

    folder: str
    kilobytes: int
    options: tuple[str, ...] = ("--runtime", "onnxruntime")
    older: str | None = None


def own_mounts() -> None:
    """From now on this process, which has no threads, sees mounts of its own.

    Raises:
        OSError: it is not allowed.
    """
    user, group = os.geteuid(), os.getegid()
    _call("unshare", _NEW_MOUNTS | (_NEW_USER if user else 0))
    if user:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    _call("mount", b"none", b"/", None, _PRIVATE, None)


def small_disk(path: Path, kilobytes: int) -> None:
    """Mounts an empty disk there.

    Raises:
        OSError: it is not allowed.
    """
    path.mkdir(parents=True, exist_ok=True)
    size = f"size={kilobytes}k".encode()
    _call("mount", b"none", os.fsencode(path), b"tmpfs", 0, size)


def refusal(folder: Path) -> str | None:
    """Why this machine lets nobody mount; None where it does."""

    def run(pipe: int) -> int:
        try:
            own_mounts()
            small_disk(folder, 100)
        except OSError as error:
            os.write(pipe, str(error.strerror).encode())
        return 0

    child = forked(run)
    said = child.pipe.read()
    child.wait()
    return said or None


def on_disk(disk: Disk, place: Place, killer: Killer) -> dict[str, Any]:
    """Compiles there: exit code, what was said, and what is left."""
    older = None if disk.older is None else killer.made(disk.older)

    def prepare() -> None:
        own_mounts()
        small_disk(getattr(place, disk.folder), disk.kilobytes)
        if older is not None:
            shutil.copytree(older, place.out / older.name)

    return _compiled(place, (*killer.argv, *disk.options), prepare)


def limited(size: int, place: Place, argv: Sequence[object]) -> dict[str, Any]:
    """Compiles where no file of the bundle may be larger than some bytes: as `on_disk`."""
    from compiler.packing import Packer

    whole = Packer.write

    def write(*arguments: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        return whole(*arguments)

    def prepare() -> None:
        patch.setattr(Packer, "write", write)

    with pytest.MonkeyPatch.context() as patch:
        return _compiled(place, argv, prepare)


def _compiled(place: Place, argv: Sequence[object], prepare: Callable[[], None]) -> dict[str, Any]:
    def run(pipe: int) -> int:
        prepare()
        code = command_line(place, *argv, "-o", place.out)
        left = {name: list(_files(getattr(place, name))) for name in ("out", "temporary", "cache")}
        with os.fdopen(pipe, "w") as stream:
            json.dump({"code": code, "left": left}, stream)
        return 0

    child = forked(run)
    found: dict[str, Any] = json.loads(child.pipe.read() or "{}")
    child.wait()
    return {**found, "said": place.log.read_text().splitlines() if place.log.exists() else []}


def _files(folder: Path) -> Iterator[str]:
    """Everything below a folder, files with their sizes."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        yield f"{name} {path.stat().st_size}" if path.is_file() else name


def _call(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
