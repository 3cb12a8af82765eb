"""Joules of a text, and the power of an idle machine.

Energy is total and not above idle, as MLPerf Power has it: what is used in a window, by the texts in it.
Source: Tschand et al., "MLPerf Power", HPCA 2025.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from targets.runtime.energy.base import SensorError
from targets.runtime.energy.sources import Found

_IDLE_S: Final = 1.0
_LEAST_S: Final = 1.0
_MOST_S: Final = 60.0
"""No counter of RAPL wraps twice within."""


@dataclass(frozen=True, slots=True)
class EnergyReport:
    """What energy was measured by.

    Attributes:
        source: for people; None where nothing could measure.
        idle_w: mean power in watts before the bundle was loaded; None where it was not measured.
        reason: why energy was not measured, or not everywhere; None where it was.
    """

    source: str | None = None
    idle_w: float | None = None
    reason: str | None = None


class EnergyMeter:
    """Measures by one source, and remembers why where it could not.

    Args:
        found: the source, or why there is none.
    """

    def __init__(self, found: Found) -> None:
        self._source = found.source
        self._idle_w: float | None = None
        self._reason = found.reason

    @property
    def report(self) -> EnergyReport:
        """What is known so far."""
        name = None if self._source is None else self._source.name
        return EnergyReport(name, self._idle_w, self._reason or None)

    def idle(self) -> None:
        """Measures the machine at rest, for a second."""
        if self._source is None:
            return
        try:
            self._idle_w = round(self._source.measure(lambda: time.sleep(_IDLE_S)).watts, 3)
        except SensorError as error:
            self._reason = self._reason or str(error)

    def per_text(self, run: Callable[[], object], texts: int, seconds: float) -> float | None:
        """Joules of one text.

        Args:
            run: one run, which was warmed up.
            texts: of one run.
            seconds: how long to repeat it, 1 to 60; a run is never cut.

        Returns:
            None where it cannot be measured.
        """
        if self._source is None:
            return None
        runs = 0

        def work() -> None:
            nonlocal runs
            runs = repeat_for(run, min(max(seconds, _LEAST_S), _MOST_S))

        try:
            if self._source.settle_s > 0:
                repeat_for(run, self._source.settle_s)
            joules = self._source.measure(work).joules
        except SensorError as error:
            self._reason = self._reason or str(error)
            return None
        return float(f"{joules / (runs * texts):.6g}")


def repeat_for(run: Callable[[], object], seconds: float) -> int:
    """Runs again and again for some seconds, once at least; how often."""
    begin, runs = time.perf_counter(), 0
    while runs == 0 or time.perf_counter() - begin < seconds:
        run()
        runs += 1
    return runs
