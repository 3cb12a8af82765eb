"""Energy of sensors that tell power alone: sampled in the background and integrated."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from targets.runtime.energy.base import Energy, SensorError, plausible

_GAP_INTERVALS: Final = 3
_GAP_SHARE: Final = 0.25

Sample = tuple[float, float]
"""When it was taken, in seconds of `time.perf_counter`, and its watts."""


@dataclass(frozen=True, slots=True)
class SampledPower:
    """A power sensor.

    Attributes:
        name: what is measured.
        read: the power now in watts; raises SensorError.
        interval_s: seconds from a sample to the next.
        settle_s: seconds that the sensor averages over.
    """

    name: str
    read: Callable[[], float]
    interval_s: float
    settle_s: float = 0.0

    def measure(self, work: Callable[[], object]) -> Energy:
        """See `EnergySource`. A sample that fails is left out, unless that leaves a gap."""
        self.read()
        samples: list[Sample] = []
        failures: list[SensorError] = []
        stop = threading.Event()
        thread = threading.Thread(target=self._collect, args=(samples, failures, stop), daemon=True)
        begin = time.perf_counter()
        thread.start()
        try:
            work()
        finally:
            end = time.perf_counter()
            stop.set()
            thread.join()
        gap = max(_GAP_INTERVALS * self.interval_s, _GAP_SHARE * (end - begin))
        try:
            joules = integrate(samples, begin, end, gap)
        except SensorError as error:
            raise (failures[-1] if failures else error) from None
        return plausible(joules, end - begin)

    def _collect(self, samples: list[Sample], failures: list[SensorError], stop: threading.Event) -> None:
        while not stop.is_set():
            before = time.perf_counter()
            try:
                watts = self.read()
                samples.append(((before + time.perf_counter()) / 2, watts))
            except SensorError as error:
                failures.append(error)
            stop.wait(self.interval_s)


def integrate(samples: Sequence[Sample], begin: float, end: float, gap: float) -> float:
    """Joules from `begin` to `end` by the trapezoidal rule; an edge has the power of the sample beside it.

    Args:
        samples: in the order of time; those outside of the window do not count.
        begin: seconds.
        end: seconds.
        gap: the most seconds without a sample.

    Raises:
        SensorError: no sample, or a longer gap.
    """
    inside = [sample for sample in samples if begin <= sample[0] <= end]
    if not inside:
        raise SensorError("the sensor gave no sample in time")
    points = [(begin, inside[0][1]), *inside, (end, inside[-1][1])]
    pairs = list(itertools.pairwise(points))
    longest = max(later - sooner for (sooner, _), (later, _) in pairs)
    if longest > gap:
        raise SensorError(f"the sensor gave no sample for {longest:.2g} s")
    return sum((low + high) / 2 * (later - sooner) for (sooner, low), (later, high) in pairs)
