"""Makes a userland: Debian packages and wheels, pinned and hashed, through apt and pip."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from compiler.atomic_dir import staged_directory
from compiler.emulate.apt import Apt, Archive, Fetched, archives, named_sources, unpack, write_sources
from compiler.emulate.cpus import EmulatedCpu, emulated_cpus
from compiler.emulate.qemu import MINIMUM, find_qemu, is_recent, qemu_version
from compiler.emulate.tools import run_tool
from compiler.emulate.userland import (
    ARCHES,
    RECORD,
    Lock,
    Package,
    Userland,
    find_userland,
    lock_of,
    qemu_folder,
    qemu_lock,
    userland_folder,
)
from compiler.progress import Clock
from targets.errors import MissingBackendError, UsageError

PYTHON: Final = "3.11"
_GLIBC: Final = range(17, 37)


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
        UsageError: no such userland or file of sources, or the cache folder cannot be written.
        MissingBackendError: no apt, no pip, no network, or no QEMU.
        IntegrityError: a package that is not the one that was tested.
    """
    found = find_userland(name)
    if found is not None and find_qemu(name) is not None and not force:
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
    sources = sources and named_sources(sources, work)
    with clock.stage("reading package lists"):
        known = () if sources is not None else archives(_folder(work, "system"))
        apt = _apt(work, lock.suite, ARCHES[lock.name].debian, known, sources)
    with clock.stage("downloading packages"):
        fetched = apt.download(lock.packages, _folder(work, "debs"), locked=locked)
    _warn_of_newer(fetched, clock)
    unpack([each.path for each in fetched], staging / "root")
    # An empty cache of libraries, so that the host's is not read in its place.
    (_folder(staging, "root/etc") / "ld.so.cache").touch()
    with clock.stage("installing Python packages", len(lock.requirements)) as advance:
        for runtime, requirements in lock.requirements.items():
            _wheels(lock, requirements, work, _folder(staging, f"site/{runtime}"))
            advance(1)
    if find_qemu(lock.name) is None:
        with clock.stage("downloading QEMU"):
            _own_qemu(work, known, sources, clock, locked=locked)
    shutil.rmtree(work)
    return _record(lock, fetched)


def _apt(work: Path, suite: str, arch: str | None, known: Sequence[Archive], sources: Path | None) -> Apt:
    """Over one Debian release, its lists read."""
    file = sources or write_sources(work / f"{suite}.sources", known, suite)
    apt = Apt(_folder(work, f"apt-{suite}-{arch}"), arch, file)
    apt.update()
    return apt


def _warn_of_newer(fetched: Sequence[Fetched], clock: Clock) -> None:
    for each in fetched:
        if not each.pinned:
            clock.progress.warn(
                f"Debian has replaced {each.package.name}: its {each.package.version} was not tested"
            )


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


def _own_qemu(
    work: Path, known: Sequence[Archive], sources: Path | None, clock: Clock, *, locked: bool
) -> None:
    """QEMU out of Debian's package for this machine, into the cache folder that all userlands share."""
    lock = qemu_lock()
    apt = _apt(work, lock.suite, None, known, sources)
    arch = run_tool(["dpkg", "--print-architecture"], "install dpkg").strip()
    package = Package(lock.package, lock.version, lock.sha256.get(arch, ""))
    with staged_directory(qemu_folder(), replace=True) as staging:
        if package.sha256:
            fetched = apt.download([package], _folder(work, "qemu"), locked=locked)
            _warn_of_newer(fetched, clock)
            path = fetched[0].path
        else:
            path = apt.newest(lock.package, _folder(work, "qemu"))
        unpack([path], work / "unpacked")
        programs = [work / "unpacked" / "usr" / "bin" / f"qemu-{each.qemu}" for each in ARCHES.values()]
        for program in programs:
            _require_recent(program)
            shutil.copy2(program, staging)


def _require_recent(qemu: Path) -> None:
    if not is_recent(qemu):
        raise MissingBackendError(
            f"QEMU in apt's sources is {qemu_version(qemu)}, older than {'.'.join(map(str, MINIMUM))}",
            f"name sources that have Debian {qemu_lock().suite} too, or install a newer qemu-user",
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
