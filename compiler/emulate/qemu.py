"""Runs a program of a userland under QEMU's user mode."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import targets
from compiler.emulate.cpus import EmulatedCpu
from compiler.emulate.folders import untrusted
from compiler.emulate.locks import shared
from compiler.emulate.tools import run_tool
from compiler.emulate.userland import ARCHES, Userland, no_userland, qemu_folder
from targets.bundle.device import release
from targets.detect import EMULATED
from targets.errors import BertcError, MissingBackendError
from targets.temporary import scratch_folder

MINIMUM: Final = (10,)
"""QEMU 7.2 is wrong on AVX2: OpenVINO's INT8 products with a tanh came out at a fifth of their size."""
MEND: Final = "install qemu-user again, or remove this one and run: bertc emulator setup NAME"
_PYTHON: Final = "usr/bin/python3.11"
_OWN: Final = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONSAFEPATH": "1",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
}


@dataclass(frozen=True, slots=True)
class Command:
    """A command line and its whole environment."""

    arguments: tuple[str, ...]
    environment: dict[str, str]


def find_qemu(userland: str) -> Path | None:
    """QEMU's user mode for a userland: on PATH, or in the user's cache; None without one that will do."""
    return qemu_on_path(userland) or own_qemu(userland)


def qemu_on_path(userland: str) -> Path | None:
    """The first on PATH that can be started and is new enough."""
    arch = ARCHES[userland].qemu
    for name in (f"qemu-{arch}-static", f"qemu-{arch}"):
        found = shutil.which(name)
        if found is not None and is_recent(Path(found)):
            return Path(found)
    return None


def own_qemu(userland: str) -> Path | None:
    """That of the user's cache, if it can be started, and nobody else can write there."""
    own = qemu_folder() / f"qemu-{ARCHES[userland].qemu}"
    if untrusted(own.parent) is not None or not own.is_file():
        return None
    return own if is_recent(own) else None


def is_recent(qemu: Path) -> bool:
    """Whether it can be started and is not older than `MINIMUM`."""
    try:
        return release(qemu_version(qemu)) >= MINIMUM
    except MissingBackendError:
        return False


def qemu_version(qemu: Path) -> str:
    """The version that QEMU says it has, as in "10.0.13".

    Raises:
        MissingBackendError: it cannot be started.
    """
    try:
        found = qemu.stat()
    except OSError as error:
        raise MissingBackendError(f"cannot start {qemu}: {error.strerror or error}", MEND) from error
    return _version_of(qemu, (found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode))


@lru_cache(maxsize=8)
def _version_of(qemu: Path, state: tuple[int, ...]) -> str:
    """What the program says, kept until its file is another."""
    del state
    words = run_tool([str(qemu), "--version"], MEND).split()
    return words[words.index("version") + 1] if "version" in words else "0"


@contextmanager
def guest_command(
    cpu: EmulatedCpu, userland: Userland, runtime: str, arguments: Sequence[str]
) -> Iterator[Command]:
    """The command that runs Python with the device's packages on an emulated CPU.

    The program sees the userland's files in place of the host's, a /proc/cpuinfo of that CPU, and of bertc
    what a device has: the package `targets`. Neither userland nor QEMU is replaced meanwhile.

    Args:
        cpu: the emulated one.
        userland: of the CPU's architecture, complete.
        runtime: whose packages are importable.
        arguments: of Python.

    Raises:
        MissingBackendError: there is no QEMU, or the userland was removed.
        IntegrityError: others can write to QEMU's folder.
    """
    with (
        shared(userland.folder),
        shared(qemu_folder()),
        _command(cpu, userland, runtime, arguments) as command,
    ):
        yield command


@contextmanager
def _command(
    cpu: EmulatedCpu, userland: Userland, runtime: str, arguments: Sequence[str]
) -> Iterator[Command]:
    qemu = find_qemu(cpu.userland)
    if qemu is None:
        raise no_qemu(cpu.userland)
    if not userland.root.is_dir():
        raise no_userland(cpu.userland)
    with scratch_folder("guest") as folder:
        prefix = folder / "root"
        _link(userland.root, prefix)
        (prefix / "proc").mkdir()
        (prefix / "proc" / "cpuinfo").write_text(cpu.cpuinfo(os.cpu_count() or 1), encoding="ascii")
        (folder / "bertc").mkdir()
        (folder / "bertc" / "targets").symlink_to(Path(targets.__file__).parent)
        home = folder / "home"
        home.mkdir()
        paths = (str(folder / "bertc"), str(userland.site(runtime)))
        yield Command(
            (str(qemu), "-cpu", cpu.qemu, "-L", str(prefix), str(userland.root / _PYTHON), *arguments),
            {**_OWN, "HOME": str(home), "PYTHONPATH": os.pathsep.join(paths), EMULATED: cpu.id},
        )


def no_qemu(userland: str) -> BertcError:
    """The error of a machine without QEMU, or with one to which others can write."""
    return untrusted(qemu_folder()) or MissingBackendError(
        f"there is no qemu-{ARCHES[userland].qemu} of {'.'.join(map(str, MINIMUM))} or later, which emulates "
        f"{userland}",
        f"run: bertc emulator setup {userland}",
    )


def _link(root: Path, prefix: Path) -> None:
    prefix.mkdir()
    for entry in root.iterdir():
        (prefix / entry.name).symlink_to(entry)
