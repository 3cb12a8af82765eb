"""Makes a userland: Debian packages and wheels, pinned and hashed, through apt and pip."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from compiler.atomic_dir import staged_directory
from compiler.emulate.apt import Apt, Fetched, unpack
from compiler.emulate.cpus import EmulatedCpu, emulated_cpus
from compiler.emulate.qemu import find_qemu
from compiler.emulate.tools import run_tool
from compiler.emulate.userland import (
    ARCHES,
    RECORD,
    Lock,
    Userland,
    find_userland,
    lock_of,
    userland_folder,
)
from compiler.progress import Clock
from targets.errors import MissingBackendError, UsageError

PYTHON: Final = "3.11"
_GLIBC: Final = range(17, 37)
_QEMU: Final = ("qemu-user-static", "qemu-user")


def set_up(
    name: str, clock: Clock, *, sources: Path | None = None, locked: bool = False, force: bool = False
) -> Userland:
    """Makes a userland in the user's cache folder, complete or not at all, without root.

    Args:
        name: of the userland.
        clock: told of each stage.
        sources: of apt, in place of the system's.
        locked: whether to refuse Debian packages newer than those that were tested.
        force: make it again.

    Returns:
        The userland, which runs Python.

    Raises:
        UsageError: no such userland, or the cache folder cannot be written.
        MissingBackendError: no apt, no pip, no network, or no QEMU.
        IntegrityError: a package that is not the one that was tested.
    """
    found = find_userland(name)
    if found is not None and not force:
        return found
    lock = lock_of(name)
    folder = userland_folder(lock)
    try:
        with staged_directory(folder, replace=True) as staging:
            record = _fill(staging, lock, clock, sources, locked)
            (staging / RECORD).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", "utf-8")
            with clock.stage("starting it"):
                _try(Userland(name, staging, record))
    except OSError as error:
        raise UsageError(
            f"cannot write {folder}: {error.strerror or error}", "set BERTC_CACHE_DIR to another folder"
        ) from error
    return Userland(name, folder, record)


def _fill(staging: Path, lock: Lock, clock: Clock, sources: Path | None, locked: bool) -> dict[str, Any]:
    work = staging / "work"
    work.mkdir()
    apt = Apt(_folder(work, "apt"), ARCHES[lock.name].debian, sources)
    with clock.stage("reading package lists"):
        apt.update()
    with clock.stage("downloading packages"):
        fetched = apt.download(lock.packages, _folder(work, "debs"), locked=locked)
    for each in fetched:
        if not each.pinned:
            clock.progress.warn(
                f"Debian has replaced {each.package.name}: its {each.package.version} was not tested"
            )
    unpack([each.path for each in fetched], staging / "root")
    # An empty cache of libraries, so that the host's is not read in its place.
    (_folder(staging, "root/etc") / "ld.so.cache").touch()
    with clock.stage("installing Python packages", len(lock.requirements)) as advance:
        for runtime, requirements in lock.requirements.items():
            _wheels(lock, requirements, work, _folder(staging, f"site/{runtime}"))
            advance(1)
    qemu = find_qemu(lock.name)
    if qemu is None:
        with clock.stage("downloading QEMU"):
            qemu = _own_qemu(lock.name, _folder(work, "host"), _folder(staging, "qemu"), sources)
    shutil.rmtree(work)
    return _record(lock, fetched, qemu)


def _record(lock: Lock, fetched: Sequence[Fetched], qemu: Path) -> dict[str, Any]:
    return {
        "name": lock.name,
        "suite": lock.suite,
        "lock": lock.digest,
        "packages": {
            each.package.name: {
                "version": each.package.version,
                "sha256": each.package.sha256,
                "pinned": each.pinned,
            }
            for each in fetched
        },
        "qemu": qemu_version(qemu),
    }


def qemu_version(qemu: Path) -> str:
    """The version that QEMU says it has, as in "7.2.22"."""
    words = run_tool([str(qemu), "--version"], "install qemu-user-static again").split()
    return words[words.index("version") + 1] if "version" in words else "unknown"


def _wheels(lock: Lock, requirements: str, work: Path, site: Path) -> None:
    """Unpacks wheels of another architecture; pip compares their hashes."""
    file = work / "requirements.txt"
    file.write_text(requirements, encoding="utf-8")
    arch = ARCHES[lock.name].wheel
    platforms = [f"--platform=manylinux_2_{minor}_{arch}" for minor in _GLIBC]
    run_tool(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
            *("--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile"),
            *("--implementation=cp", f"--python-version={PYTHON}", *platforms),
            *(f"--platform=manylinux2014_{arch}", f"--target={site}", f"--requirement={file}"),
        ],
        "check the network, and that `python -m pip --version` works",
    )


def _own_qemu(name: str, work: Path, folder: Path, sources: Path | None) -> Path:
    """QEMU out of Debian's package for this machine, where the system has none."""
    binary = f"usr/bin/qemu-{ARCHES[name].qemu}"
    apt = Apt(_folder(work, "apt"), None, sources)
    apt.update()
    for package in _QEMU:
        path = apt.newest(package, work)
        if path is None:
            continue
        unpack([path], work / "root")
        for built in (f"{binary}-static", binary):
            if (work / "root" / built).is_file():
                return (work / "root" / built).rename(folder / f"qemu-{ARCHES[name].qemu}-static")
    raise MissingBackendError(
        f"apt's sources have no QEMU for {name}", "install it: apt install qemu-user-static"
    )


def _try(userland: Userland) -> None:
    """Runs Python in it, and imports each runtime."""
    cpu = next(each for each in emulated_cpus() if each.userland == userland.name)
    for runtime in ("onnxruntime", "openvino"):
        _import(cpu, userland, runtime)


def _import(cpu: EmulatedCpu, userland: Userland, runtime: str) -> None:
    from compiler.emulate.guest import guest_output

    code = f"import numpy, tokenizers, click, {runtime}"
    guest_output(cpu, userland, runtime, ["-c", code])


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir(parents=True, exist_ok=True)
    return parent / name
