"""The CPUs that can be emulated."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from targets.errors import UnsupportedError, UsageError
from targets.fields import nearest
from targets.registry import NATIVE, get_target, list_targets
from targets.spec import TargetSpec


@dataclass(frozen=True, slots=True)
class EmulatedCpu:
    """A CPU in QEMU's user mode.

    Attributes:
        id: as profiles name it.
        description: one line for people.
        userland: the programs that it runs, as `bertc emulator setup` names them.
        qemu: QEMU's name of it.
        features: Linux CPU flags that it has.
        identity: the other lines of /proc/cpuinfo, by key.
    """

    id: str
    description: str
    userland: str
    qemu: str
    features: tuple[str, ...]
    identity: Mapping[str, str] = field(hash=False)

    def cpuinfo(self, cores: int) -> str:
        """The text of /proc/cpuinfo on such a CPU.

        Without it, what runs under the emulator reads the host's, and takes it for its own; for ARM, QEMU
        writes one itself from 9.1 on.
        """
        key = "flags" if "vendor_id" in self.identity else "Features"
        lines = [*(f"{name}\t: {value}" for name, value in self.identity.items())]
        lines.append(f"{key}\t: {' '.join(self.features)}")
        return "".join("\n".join([f"processor\t: {core}", *lines, "", ""]) for core in range(cores))


@cache
def emulated_cpus() -> tuple[EmulatedCpu, ...]:
    """Every CPU that can be emulated, in the order of preference."""
    document = tomllib.loads((files("compiler.emulate") / "cpus.toml").read_text(encoding="utf-8"))
    return tuple(
        EmulatedCpu(
            each["id"],
            each["description"],
            each["userland"],
            each["qemu"],
            tuple(each["features"].split()),
            each["identity"],
        )
        for each in document["cpus"]
    )


def find_cpu(name: str) -> EmulatedCpu:
    """A CPU by its own id, or that of a target.

    Args:
        name: an id of `emulated_cpus` or of `bertc targets`, or the path of a profile.

    Raises:
        UsageError: nothing has that name.
        UnsupportedError: a target that cannot be emulated.
    """
    known = {each.id: each for each in emulated_cpus()}
    if name in known:
        return known[name]
    targets = {each.id: each for each in list_targets()}
    if name not in (*targets, NATIVE) and not name.endswith(".toml"):
        names = [*known, *(each.id for each in targets.values() if each.emulation is not None)]
        raise UsageError(
            f"there is no emulated CPU or target {name[:80]!r}: {nearest(name, names)}",
            "`bertc emulator list` lists the CPUs, `bertc targets` the targets",
        )
    return emulated_cpu(get_target(name))


def emulated_cpu(spec: TargetSpec) -> EmulatedCpu:
    """The CPU that stands for a target.

    Raises:
        UnsupportedError: there is none.
        UsageError: its profile names one that is not known.
    """
    known = {each.id: each for each in emulated_cpus()}
    if spec.emulation is None:
        raise UnsupportedError(
            f"target {spec.id} cannot be emulated",
            f"validate it on the device, or emulate one of: {', '.join(known)}",
        )
    if spec.emulation not in known:
        raise UsageError(
            f"target profile {spec.id}: emulation {spec.emulation!r} is not known: "
            f"{nearest(spec.emulation, list(known))}",
            "correct the key emulation",
        )
    return known[spec.emulation]
