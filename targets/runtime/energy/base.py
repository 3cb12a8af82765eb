"""What every source of energy readings has in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

_MAX_WATTS: Final = 10_000
_MAX_DIGITS: Final = 20


class SensorError(Exception):
    """A reading that cannot be had or believed; its text is the reason, for people."""


@dataclass(frozen=True, slots=True)
class Energy:
    """Joules that were used in a window of some seconds."""

    joules: float
    seconds: float

    @property
    def watts(self) -> float:
        """Mean power of the window."""
        return self.joules / self.seconds


class EnergySource(Protocol):
    """A counter or a sensor."""

    @property
    def name(self) -> str:
        """What is measured, for people."""

    @property
    def settle_s(self) -> float:
        """Seconds of the same work before a window, for sensors that average over the past."""

    def measure(self, work: Callable[[], object]) -> Energy:
        """The energy that is used while `work` runs, which is called once.

        Raises:
            SensorError: the readings are missing, too few or impossible.
        """


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a machine exposes one kind of source.

    Attributes:
        kind: as in "RAPL".
        source: it; None if it cannot be used.
        reason: why not; empty if it can.
        present: whether the machine has it at all.
    """

    kind: str
    source: EnergySource | None = None
    reason: str = ""
    present: bool = True


def plausible(joules: float, seconds: float) -> Energy:
    """An energy that a machine can have used.

    Raises:
        SensorError: no energy at all, or more than 10 kW.
    """
    if seconds <= 0 or not 0 < joules / seconds <= _MAX_WATTS:
        raise SensorError(f"its readings are impossible: {joules:.6g} J in {seconds:.3g} s")
    return Energy(joules, seconds)


def read_int(path: Path) -> int:
    """The integer that a file of sysfs holds.

    Raises:
        SensorError: the file is gone, cannot be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="ascii", errors="replace").strip()
    except OSError as error:
        raise SensorError(f"{path.name} cannot be read: {(error.strerror or str(error)).lower()}") from error
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        raise SensorError(f"{path.name} holds {text[:20]!r}, which is not a number")
    return int(text)


def read_label(path: Path) -> str:
    """The text that a file of sysfs holds; empty where there is none."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
