"""Which accelerators are plugged in, whether or not a driver drives them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, TypeAlias

from targets.runtime.energy.base import read_label

Accelerator: TypeAlias = Literal["NVIDIA GPU", "Intel GPU", "Intel NPU"]

_KINDS: Final[Mapping[tuple[str, str], Accelerator]] = {
    ("0x10de", "0x03"): "NVIDIA GPU",
    ("0x8086", "0x03"): "Intel GPU",
    ("0x8086", "0x12"): "Intel NPU",
}
"""By vendor and base class of the PCI code and ID assignment: displays, and processing accelerators."""


def accelerators(root: Path = Path("/")) -> frozenset[Accelerator]:
    """The accelerators on the PCI bus.

    Args:
        root: where /sys is found.
    """
    devices = (root / "sys/bus/pci/devices").glob("*")
    codes = {(read_label(each / "vendor"), read_label(each / "class")[:4]) for each in devices}
    return frozenset(_KINDS[code] for code in codes & _KINDS.keys())
