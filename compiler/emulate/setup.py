"""Makes a userland: Debian packages and wheels, pinned and hashed, through apt and pip."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from compiler.emulate.apt import Fetched, Releases, unpack, warn_of_newer
from compiler.emulate.cpus import EmulatedCpu, emulated_cpus
from compiler.emulate.folders import make_emulators_folder, writing
from compiler.emulate.locks import alone
from compiler.emulate.qemu_setup import set_up_qemu
from compiler.emulate.removal import remove_older
from compiler.emulate.tools import run_tool
from compiler.emulate.userland import (
    ARCHES,
    RECORD,
    Lock,
    Userland,
    find_userland,
    lock_of,
    qemu_folder,
    userland_folder,
)
from compiler.progress import Clock
from targets.bundle.atomic_dir import staged_directory, sync_file_system

PYTHON: Final = "3.11"
_GLIBC: Final = range(17, 37)


def set_up(
    name: str, clock: Clock, *, sources: Path | None = None, locked: bool = False, force: bool = False
) -> Userland:
    """Makes one userland, as `set_up_each`."""
    return next(set_up_each([name], clock, sources=sources, locked=locked, force=force))


def set_up_each(
    names: Sequence[str],
    clock: Clock,
    *,
    sources: Path | None = None,
    locked: bool = False,
    force: bool = False,
) -> Iterator[Userland]:
    """Makes userlands in the user's cache folder, each complete or not at all, and QEMU, without root.

    What is there is left as it is; where another process sets it up, that is waited for. What older versions
    left is removed where no program runs from it.

    Args:
        names: of the userlands.
        clock: told of each stage.
        sources: of apt, in place of the system's.
        locked: whether to refuse Debian packages newer than those that were tested, those of what is there
            too.
        force: make them again, and QEMU once.

    Yields:
        Each userland, when it runs Python.

    Raises:
        UsageError: no such userland or file of sources, the cache folder cannot be written, or a program
            runs from what is to be replaced.
        MissingBackendError: no apt, no pip, no network, or no QEMU.
        IntegrityError: a package that is not the one that was tested, or others can write to the folder of
            emulators.
    """
    releases = Releases(sources)
    locks = [lock_of(name) for name in names]
    if set_up_qemu(names, clock, releases, locked=locked, force=force):
        remove_older((), [qemu_folder()], clock)
    for lock in locks:
        userland = None if force else _ready(lock.name, locked)
        if userland is None:
            userland = _make(lock, clock, releases, locked=locked, force=force)
        yield userland


def _ready(name: str, locked: bool) -> Userland | None:
    found = find_userland(name)
    return found if found is not None and (found.pinned or not locked) else None


def _make(lock: Lock, clock: Clock, releases: Releases, *, locked: bool, force: bool) -> Userland:
    make_emulators_folder()
    folder = userland_folder(lock)
    with writing(folder), alone(folder, clock):
        found = None if force else _ready(lock.name, locked)
        if found is not None:
            return found
        with staged_directory(folder, replace=True) as staging:
            staging.chmod(0o700)
            record = _fill(staging, lock, clock, releases, locked)
            (staging / RECORD).write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", "utf-8")
            with clock.stage("starting it"):
                _try(Userland(lock.name, staging, record))
            sync_file_system(staging)
        remove_older([lock.name], [folder, qemu_folder()], clock)
    return Userland(lock.name, folder, record)


def _fill(staging: Path, lock: Lock, clock: Clock, releases: Releases, locked: bool) -> dict[str, Any]:
    work = staging / "work"
    work.mkdir()
    with clock.stage("reading package lists"):
        apt = releases.open(work, lock.suite, ARCHES[lock.name].debian)
    with clock.stage("downloading packages"):
        fetched = apt.download(lock.packages, _folder(work, "debs"), locked=locked)
    warn_of_newer(fetched, clock)
    unpack([each.path for each in fetched], staging / "root")
    # An empty cache of libraries, so that the host's is not read in its place.
    (_folder(staging, "root/etc") / "ld.so.cache").touch()
    with clock.stage("installing Python packages", len(lock.requirements)) as advance:
        for runtime, requirements in lock.requirements.items():
            _wheels(lock, requirements, work, _folder(staging, f"site/{runtime}"))
            advance(1)
    shutil.rmtree(work)
    return _record(lock, fetched)


def _record(lock: Lock, fetched: Sequence[Fetched]) -> dict[str, Any]:
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
    }


def platform_options(arch: str) -> list[str]:
    """The options of pip for wheels of Linux on an architecture, by its name in wheels."""
    tags = ["manylinux2014", *(f"manylinux_2_{minor}" for minor in _GLIBC)]
    return [f"--platform={tag}_{arch}" for tag in tags]


def _wheels(lock: Lock, requirements: str, work: Path, site: Path) -> None:
    """Unpacks wheels of another architecture; pip compares their hashes."""
    file = work / "requirements.txt"
    file.write_text(requirements, encoding="utf-8")
    arch = ARCHES[lock.name].wheel
    run_tool(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"),
            *("--no-deps", "--require-hashes", "--only-binary=:all:", "--no-compile"),
            *("--implementation=cp", f"--python-version={PYTHON}", *platform_options(arch)),
            *(f"--target={site}", f"--requirement={file}"),
        ],
        "check the network, and that `python -m pip --version` works",
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
