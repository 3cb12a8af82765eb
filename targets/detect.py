"""What this machine is: architecture, CPU features, cores and memory, from the system alone."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from targets.spec import DOT_PRODUCTS, TargetSpec, saturates

EMULATED: Final = "BERTC_EMULATED"
"""The environment variable that holds the id of the CPU under whose emulation a process runs."""

_ARCH_NAMES: Final = {"amd64": "x86_64", "x64": "x86_64", "arm64": "aarch64"}
_FEATURE_KEYS: Final = ("flags", "features")
_MODEL_KEYS: Final = ("model name", "model", "hardware")


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, in the terms of a target profile.

    Attributes:
        arch: instruction set, `x86_64` or `aarch64` or what the system calls it.
        os: operating system in lower case.
        cpu_model: name for people.
        cpu_features: Linux CPU flags that every core has; empty where they cannot be read.
        cores: cores that this process may use.
        memory_mb: memory that this process may use, in MiB; 0 where it cannot be read.
        board: what the firmware calls the board, as in "Raspberry Pi 5 Model B Rev 1.0"; empty on most.
        emulated: id of the CPU that an emulator stands in for; empty on real ones.
    """

    arch: str
    os: str
    cpu_model: str
    cpu_features: frozenset[str]
    cores: int
    memory_mb: int
    board: str = ""
    emulated: str = ""

    def missing_features(self, required: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], ...]:
        """The groups of `required`, all of (any of), of which this machine has no feature."""
        return tuple(group for group in required if self.cpu_features.isdisjoint(group))

    @property
    def dot_products(self) -> bool:
        """Whether its x86 CPU adds products of 8-bit integers in 32 bits."""
        return not DOT_PRODUCTS.isdisjoint(self.cpu_features)

    def fits(self, target: TargetSpec) -> bool:
        """Whether a target's arch, system and CPU features are this machine's; an NVIDIA GPU's never are.

        It does not say whether OpenVINO finds the target's `devices` here.
        """
        return (
            target.arch in (self.arch, "any")
            and not target.gpu
            and self.os == target.os
            and not self.missing_features(target.cpu_features)
        )

    def measures(self, target: TargetSpec) -> bool:
        """Whether what runs on its CPU shows what a target's CPU computes.

        Another board than a target names shows nothing of it, and nor does a CPU with integer dot products of
        one without, although both run the same programs.
        """
        own_board = not target.boards or self.board.startswith(target.boards)
        alike = self.saturates_as(target.arch, target.cpu_features)
        return self.fits(target) and not target.devices and own_board and alike

    def saturates_as(self, arch: str, cpu_features: tuple[tuple[str, ...], ...]) -> bool:
        """Whether 16-bit sums of products saturate on both it and certain other CPUs, or on neither.

        Args:
            arch: of the others.
            cpu_features: that the others have, all of (any of), and no more.
        """
        own = self.arch == "x86_64" and not self.dot_products
        return own == saturates(arch, cpu_features)


def machine(root: Path = Path("/")) -> Machine:
    """Describe this machine.

    Args:
        root: where /proc and /sys are found.
    """
    model, features = parse_cpuinfo(_text(root / "proc/cpuinfo"))
    name = platform.machine().lower()
    return Machine(
        arch=_ARCH_NAMES.get(name, name),
        os=platform.system().lower(),
        cpu_model=model or platform.processor() or name,
        cpu_features=features,
        cores=_cores(),
        memory_mb=_memory_mb(root),
        board=_text(root / "proc/device-tree/model").rstrip("\0\n"),
        emulated=os.environ.get(EMULATED, ""),
    )


def parse_cpuinfo(text: str) -> tuple[str, frozenset[str]]:
    """CPU model and the features that all its cores have, from the text of /proc/cpuinfo."""
    names: dict[str, str] = {}
    common: frozenset[str] | None = None
    for line in text.splitlines():
        key, _, value = line.partition(":")
        key = key.strip().lower()
        if key in _FEATURE_KEYS:
            features = frozenset(value.lower().split())
            common = features if common is None else common & features
        elif key in _MODEL_KEYS:
            names.setdefault(key, value.strip())
    model = next((names[key] for key in _MODEL_KEYS if names.get(key)), "")
    return model, common or frozenset()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_mb(root: Path) -> int:
    limits = []
    for line in _text(root / "proc/meminfo").splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "MemTotal:" and words[1].isdigit():
            limits.append(int(words[1]) // 1024)
    control_group = _text(root / "sys/fs/cgroup/memory.max").strip()
    if control_group.isdigit():
        limits.append(int(control_group) // 1024**2)
    return min(limits, default=0)


def _text(path: Path) -> str:
    """A file of the kernel; empty where the kernel has none, which leaves its facts unknown."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
