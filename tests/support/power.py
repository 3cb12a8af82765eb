"""Fake trees of sysfs, and what commands print, for the sources of energy readings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

RANGE = 262_143_328_850
"""Microjoules after which a counter of RAPL starts again, on common machines."""

ADC = """\
 3V7_WL_SW_A current(0)=0.00500000A
   VDD_CORE_A current(7)=2.00000000A
 3V7_WL_SW_V volt(8)=4.00000000V
   VDD_CORE_V volt(15)=0.75000000V
     EXT5V_V volt(24)=5.12000000V
      BATT_V volt(25)=0.00000000V
"""


def gone(_command: Sequence[str]) -> str:
    raise FileNotFoundError


def zone(root: Path, name: str, domain: str, microjoules: object, limit: object = RANGE) -> Path:
    """Writes a domain of powercap; its counter's path."""
    folder = root / "sys/class/powercap" / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{domain}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    if limit is not None:
        (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    return folder / "energy_uj"


def hwmon(root: Path, number: int, rails: dict[str, tuple[object, object]], name: str = "ina3221") -> Path:
    """Writes a power monitor: (mV, mA) by label."""
    folder = root / f"sys/class/hwmon/hwmon{number}"
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    for channel, (label, (millivolts, milliamperes)) in enumerate(rails.items(), start=1):
        (folder / f"in{channel}_label").write_text(f"{label}\n")
        (folder / f"in{channel}_input").write_text(f"{millivolts}\n")
        (folder / f"curr{channel}_input").write_text(f"{milliamperes}\n")
    (folder / "in7_label").write_text("sum of shunt voltages\n")
    return folder
