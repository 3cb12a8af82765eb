"""Fetches QEMU into the user's cache folder, where no QEMU on PATH will do."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from compiler.emulate.apt import Fetched, Releases, unpack, warn_of_newer
from compiler.emulate.folders import make_emulators_folder, writing
from compiler.emulate.locks import alone
from compiler.emulate.qemu import MINIMUM, is_recent, own_qemu, qemu_on_path, qemu_version
from compiler.emulate.tools import run_tool
from compiler.emulate.userland import ARCHES, Package, QemuLock, qemu_folder, qemu_lock
from compiler.progress import Clock
from targets.bundle.atomic_dir import staged_directory, sync_file_system
from targets.errors import MissingBackendError

QEMU_RECORD: Final = "qemu.json"


def set_up_qemu(
    names: Sequence[str], clock: Clock, releases: Releases, *, locked: bool = False, force: bool = False
) -> bool:
    """QEMU for userlands, out of Debian's package for this machine; all userlands share one.

    Args:
        names: of the userlands.
        clock: told of each stage.
        releases: of Debian.
        locked: whether only the package that was tested will do; what is on PATH is the user's choice.
        force: fetch it again.

    Returns:
        Whether it was fetched: not where QEMUs on PATH will do, or one that works is there.

    Raises:
        UsageError: the cache folder cannot be written, or what runs from it does not end.
        MissingBackendError: the archive has none, or none that was tested.
        IntegrityError: other bytes than those that were tested, or others can write to the cache folder.
    """
    wanted = [name for name in names if qemu_on_path(name) is None]
    if not wanted or (not force and _is_ready(wanted, locked)):
        return False
    make_emulators_folder()
    folder = qemu_folder()
    with writing(folder), alone(folder, clock):
        if not force and _is_ready(wanted, locked):
            return False
        with clock.stage("downloading QEMU"), staged_directory(folder, replace=True) as staging:
            staging.chmod(0o700)
            _fill(staging, clock, releases, locked)
            sync_file_system(staging)
    return True


def _is_ready(names: Sequence[str], locked: bool) -> bool:
    return all(own_qemu(name) is not None for name in names) and (not locked or _is_pinned())


def _is_pinned() -> bool:
    try:
        record = json.loads((qemu_folder() / QEMU_RECORD).read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(record, dict) and record.get("pinned") is True


def _fill(staging: Path, clock: Clock, releases: Releases, locked: bool) -> None:
    work = staging / "work"
    work.mkdir()
    fetched = _fetch(work, releases, locked)
    if fetched.tested:
        warn_of_newer([fetched], clock)
    unpack([fetched.path], work / "unpacked")
    for each in ARCHES.values():
        program = work / "unpacked" / "usr" / "bin" / f"qemu-{each.qemu}"
        _require_recent(program)
        shutil.copy2(program, staging)
    shutil.rmtree(work)
    text = json.dumps(_record(fetched), indent=2, sort_keys=True)
    (staging / QEMU_RECORD).write_text(text + "\n", "utf-8")


def _fetch(work: Path, releases: Releases, locked: bool) -> Fetched:
    lock = qemu_lock()
    arch = run_tool(["dpkg", "--print-architecture"], "install dpkg").strip()
    if arch not in lock.sha256 and locked:
        raise _untested(lock, arch)
    apt = releases.open(work, lock.suite, None)
    place = work / "debs"
    place.mkdir()
    if arch in lock.sha256:
        return apt.download([Package(lock.package, lock.version, lock.sha256[arch])], place, locked=locked)[0]
    path = apt.newest(lock.package, place)
    return Fetched(path, apt.describe(path, lock.package), pinned=False, tested=False)


def _untested(lock: QemuLock, arch: str) -> MissingBackendError:
    return MissingBackendError(
        f"--locked: no {lock.package} was tested on hosts of {arch}, only of {', '.join(lock.sha256)}",
        f"leave out --locked, or install a qemu-user of {'.'.join(map(str, MINIMUM))} or later",
    )


def _require_recent(qemu: Path) -> None:
    if not is_recent(qemu):
        raise MissingBackendError(
            f"QEMU in apt's sources is {qemu_version(qemu)}, older than {'.'.join(map(str, MINIMUM))}",
            f"name sources that have Debian {qemu_lock().suite} too, or install a newer qemu-user",
        )


def _record(fetched: Fetched) -> dict[str, Any]:
    package = fetched.package
    return {
        "package": package.name,
        "version": package.version,
        "sha256": package.sha256,
        "pinned": fetched.pinned,
    }
