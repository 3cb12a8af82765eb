"""The INA3221 power monitors of NVIDIA's Jetson modules.

JetPack 5 and later show them in hwmon, in mV and mA; JetPack 4 as an industrial I/O device, in mW. Source:
the kernel's Documentation/hwmon/ina3221, and NVIDIA's Jetson Linux Developer Guide for the rails.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from targets.runtime.energy.base import Availability, SensorError, read_int, read_label
from targets.runtime.energy.sampled import SampledPower

KIND: Final = "INA3221"
MODULES: Final = (
    ("VDD_IN",),
    ("POM_5V_IN",),
    ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
    ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0"),
    ("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
)
"""Rails that add up to a module: its input (Orin NX and Nano, Xavier NX, TX2), that of the first Nano, and
the sums of AGX Orin, whose VIN_SYS_5V0 feeds VDDQ_VDD2_1V8AO as well, of AGX Thor and of AGX Xavier."""

_HWMON: Final = "sys/class/hwmon"
_IIO: Final = "sys/bus/i2c/drivers/ina3221x"
_INTERVAL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class _Rail:
    """A rail whose power is the product of what its files hold, in units of `unit` watts."""

    label: str
    files: tuple[Path, ...]
    unit: float

    def watts(self) -> float:
        return math.prod(read_int(path) for path in self.files) * self.unit


def ina3221(root: Path) -> Availability:
    """The monitors of a Jetson under a root directory."""
    rails = {rail.label: rail for rail in (*_iio(root), *_hwmon(root))}
    if not rails:
        return Availability(KIND, reason=f"no INA3221 in /{_HWMON}", present=False)
    labels = next((module for module in MODULES if rails.keys() >= set(module)), None)
    if labels is None:
        names = ", ".join(sorted(rails))
        return Availability(KIND, reason=f"which of its rails add up to the module is not known: {names}")
    chosen = [rails[label] for label in labels]

    def read() -> float:
        return sum(rail.watts() for rail in chosen)

    try:
        read()
    except SensorError as error:
        return Availability(KIND, reason=str(error))
    return Availability(KIND, SampledPower(f"{KIND} on {' + '.join(labels)}", read, _INTERVAL_S))


def _hwmon(root: Path) -> Iterator[_Rail]:
    for device in sorted((root / _HWMON).glob("hwmon*")):
        if read_label(device / "name") != "ina3221":
            continue
        for channel in (1, 2, 3):
            if label := read_label(device / f"in{channel}_label"):
                files = (device / f"in{channel}_input", device / f"curr{channel}_input")
                yield _Rail(label, files, 1e-6)


def _iio(root: Path) -> Iterator[_Rail]:
    for device in sorted((root / _IIO).glob("*/iio:device*")):
        for channel in (0, 1, 2):
            if label := read_label(device / f"rail_name_{channel}"):
                yield _Rail(label, (device / f"in_power{channel}_input",), 1e-3)
