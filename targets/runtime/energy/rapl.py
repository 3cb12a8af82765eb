"""RAPL: the energy counters of CPU packages, of Intel and AMD alike, in Linux's powercap tree.

What is nested in a domain, as `intel-rapl:0:0`, is not counted again; `psys` holds the packages, and
`intel-rapl-mmio:0` is a package once more. So the packages are summed, and memory where it is a domain of its
own. Source: the kernel's Documentation/power/powercap.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from targets.runtime.energy.base import (
    Availability,
    Energy,
    SensorError,
    plausible,
    read_int,
    read_label,
)

KIND: Final = "RAPL"
_TREE: Final = "sys/class/powercap"
_ZONE: Final = re.compile(r"intel-rapl:[0-9]+")
_DOMAIN: Final = re.compile(r"package-[0-9]+(-die-[0-9]+)?|dram")
_FORBIDDEN: Final = (
    "only root may read its counters (since CVE-2020-8694); "
    f"let every user until the next boot: sudo chmod a+r /{_TREE}/*/energy_uj"
)


@dataclass(frozen=True, slots=True)
class _Domain:
    """One counter, in microjoules, that starts from 0 again beyond `limit`; 0 where that is unknown."""

    name: str
    counter: Path
    limit: int

    def used(self, before: int, after: int) -> int:
        """Microjoules between two readings, at most one wrap apart."""
        if after >= before:
            return after - before
        if self.limit < before:
            raise SensorError(f"the counter of {self.name} went backwards")
        return after + self.limit - before


@dataclass(frozen=True, slots=True)
class Rapl:
    """The sum of some domains."""

    domains: tuple[_Domain, ...]
    settle_s: float = 0.0

    @property
    def name(self) -> str:
        """The domains' names."""
        return f"{KIND} of {' + '.join(each.name for each in self.domains)}"

    def read(self) -> list[int]:
        """Microjoules that each domain has counted.

        Raises:
            SensorError: a counter cannot be read.
        """
        return [read_int(each.counter) for each in self.domains]

    def measure(self, work: Callable[[], object]) -> Energy:
        """See `EnergySource`. Within a minute no counter wraps twice, which could not be seen."""
        before, begin = self.read(), time.perf_counter()
        work()
        after, seconds = self.read(), time.perf_counter() - begin
        used = (each.used(*pair) for each, *pair in zip(self.domains, before, after, strict=True))
        return plausible(sum(used) / 1e6, seconds)


def rapl(root: Path) -> Availability:
    """RAPL under a root directory."""
    tree = root / _TREE
    zones = sorted(path for path in tree.glob("intel-rapl:*") if _ZONE.fullmatch(path.name))
    named = [(read_label(zone / "name"), zone) for zone in zones]
    domains = tuple(
        _Domain(name, zone / "energy_uj", _limit(zone)) for name, zone in named if _DOMAIN.fullmatch(name)
    )
    if not any(each.name != "dram" for each in domains):
        return Availability(KIND, reason=f"no RAPL package in /{_TREE}", present=False)
    found = Rapl(domains)
    try:
        found.read()
    except SensorError as error:
        forbidden = isinstance(error.__cause__, PermissionError)
        return Availability(KIND, reason=_FORBIDDEN if forbidden else str(error))
    return Availability(KIND, found)


def _limit(zone: Path) -> int:
    try:
        return read_int(zone / "max_energy_range_uj")
    except SensorError:
        return 0
