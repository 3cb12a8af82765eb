"""A machine with apt, dpkg, pip and QEMU, all of them shell scripts."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import compiler.emulate.qemu_setup as setting_up_qemu
import compiler.emulate.setup as setting_up
import compiler.emulate.userland as userlands
from compiler.emulate.qemu import find_qemu
from compiler.emulate.userland import RUNTIMES, Lock, Package, QemuLock
from tests.support.emulators import APT, DPKG, INDEXTARGETS, PIP, STATIC, Fakes, Locks


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """A machine with apt, dpkg, pip and QEMU, and nothing else that is theirs."""
    found = Fakes(tmp_path)
    found.archive.mkdir()
    found.sources(*INDEXTARGETS.splitlines())
    for name, text in (("apt-get", APT), ("dpkg-deb", DPKG), ("dpkg", "#!/bin/sh\necho amd64\n")):
        found.program(name, text)
    found.emulator(STATIC)
    found.program("apt-cache", "#!/bin/sh\n")
    monkeypatch.setattr(sys, "executable", str(found.program("python", PIP)))
    for name in ("sh", "cat", "cp", "mkdir", "head", "basename", "kill"):
        (tmp_path / "bin" / name).symlink_to(f"/bin/{name}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return found


@pytest.fixture
def lock(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> Locks:
    """`lock(PACKAGE...)` makes that the lock of arm64."""

    def put(*packages: Package) -> Lock:
        requirements = {runtime: f"{runtime}==1 --hash=sha256:{'0' * 64}\n" for runtime in RUNTIMES}
        made = Lock(
            "arm64", "bookworm", packages, requirements, hashlib.sha256(repr(packages).encode()).hexdigest()
        )
        for module in (setting_up, userlands):
            monkeypatch.setattr(module, "lock_of", lambda _: made)
        return made

    put(fakes.has("python3.11"), fakes.has("libc6", "2.36-9"))
    return put


@pytest.fixture
def no_qemu(fakes: Fakes) -> Fakes:
    """The only QEMU is in a package, of which the archive has nothing yet."""
    (fakes.folder / STATIC).rename(fakes.folder / "qemu")
    assert find_qemu("arm64") is None
    return fakes


@pytest.fixture
def pin_qemu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., QemuLock]:
    """`pin_qemu(PACKAGE)` makes that the QEMU that was tested, on hosts of amd64 or another architecture."""

    def put(package: Package, host: str = "amd64") -> QemuLock:
        made = QemuLock("trixie", package.name, package.version, {host: package.sha256})
        for module in (setting_up_qemu, userlands):
            monkeypatch.setattr(module, "qemu_lock", lambda: made)
        return made

    return put
