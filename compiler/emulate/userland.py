"""Debian userlands in the user's cache, in which a device's programs are emulated."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from compiler.emulate.folders import emulators_folder, untrusted
from targets.errors import BertcError, MissingBackendError, UsageError
from targets.fields import nearest

RECORD: Final = "userland.json"
RUNTIMES: Final = ("onnxruntime", "openvino")


@dataclass(frozen=True, slots=True)
class Arch:
    """What the world calls one instruction set.

    Attributes:
        debian: in Debian's packages.
        wheel: in Python's wheels, and of the kernel.
        qemu: in QEMU's programs.
    """

    debian: str
    wheel: str
    qemu: str


ARCHES: Final[Mapping[str, Arch]] = {
    "arm64": Arch("arm64", "aarch64", "aarch64"),
    "avx2": Arch("amd64", "x86_64", "x86_64"),
}


@dataclass(frozen=True, slots=True)
class Package:
    """One Debian package, as it was tested."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Lock:
    """Everything that a userland is made of.

    Attributes:
        name: of the userland.
        suite: Debian's release.
        packages: to unpack.
        requirements: of the wheels, by runtime, as pip reads them.
        digest: hex SHA-256 of all of this.
    """

    name: str
    suite: str
    packages: tuple[Package, ...]
    requirements: Mapping[str, str]
    digest: str


@dataclass(frozen=True, slots=True)
class Userland:
    """A userland that is complete.

    Attributes:
        name: as `bertc emulator setup` takes it.
        folder: of everything that belongs to it.
        record: what it was made of.
    """

    name: str
    folder: Path
    record: Mapping[str, Any]

    @property
    def root(self) -> Path:
        """Where Debian's packages are unpacked."""
        return self.folder / "root"

    @property
    def pinned(self) -> bool:
        """Whether every Debian package is the one that was tested."""
        packages = self.record.get("packages")
        if not isinstance(packages, Mapping):
            return False
        return all(isinstance(each, Mapping) and each.get("pinned") is True for each in packages.values())

    def site(self, runtime: str) -> Path:
        """The Python packages that a device with this runtime has."""
        return self.folder / "site" / runtime


def lock_of(name: str) -> Lock:
    """The lock of a userland.

    Raises:
        UsageError: there is no userland of that name.
    """
    if name not in ARCHES:
        raise UsageError(
            f"there is no emulator {name[:40]!r}: {nearest(name, list(ARCHES))}",
            f"use one of: {', '.join(ARCHES)}",
        )
    data = (files("compiler.emulate") / f"{name}.toml").read_bytes()
    document = tomllib.loads(data.decode("utf-8"))
    wheel = ARCHES[name].wheel
    requirements = {
        runtime: (files("targets") / "requirements" / f"{wheel}-{runtime}.txt").read_text(encoding="utf-8")
        for runtime in RUNTIMES
    }
    digest = hashlib.sha256(b"\0".join([data, *(text.encode() for text in requirements.values())]))
    packages = tuple(Package(each["name"], each["version"], each["sha256"]) for each in document["packages"])
    return Lock(name, document["suite"], packages, requirements, digest.hexdigest())


@dataclass(frozen=True, slots=True)
class QemuLock:
    """QEMU, as it was tested.

    Attributes:
        suite: Debian's release that has it.
        package: its name there.
        version: of the package.
        sha256: of the package file, by Debian's name of this machine's architecture.
    """

    suite: str
    package: str
    version: str
    sha256: Mapping[str, str]


def qemu_lock() -> QemuLock:
    """The QEMU that runs every userland."""
    document = tomllib.loads((files("compiler.emulate") / "qemu.toml").read_text(encoding="utf-8"))
    return QemuLock(document["suite"], document["package"], document["version"], document["sha256"])


def qemu_folder() -> Path:
    """Where that QEMU has its place, in the user's cache folder."""
    return emulators_folder() / f"qemu-{qemu_lock().version.split(':')[-1]}"


def userland_folder(lock: Lock) -> Path:
    """Where a userland of that lock has its place, in the user's cache folder."""
    return emulators_folder() / f"{lock.name}-{lock.digest[:12]}"


def find_userland(name: str) -> Userland | None:
    """The userland, where it was set up and nobody else can write to it."""
    folder = userland_folder(lock_of(name))
    if untrusted(folder) is not None:
        return None
    try:
        record = json.loads((folder / RECORD).read_bytes())
    except (OSError, ValueError):
        return None
    return Userland(name, folder, record) if isinstance(record, dict) else None


def no_userland(name: str) -> BertcError:
    """The error of a userland that `find_userland` does not give."""
    problem = untrusted(userland_folder(lock_of(name)))
    return problem or MissingBackendError(
        f"the emulator {name} is not set up", f"run: bertc emulator setup {name}"
    )


def require_userland(name: str) -> Userland:
    """The userland.

    Raises:
        MissingBackendError: it was not set up.
        IntegrityError: others can write to it.
    """
    found = find_userland(name)
    if found is None:
        raise no_userland(name)
    return found
