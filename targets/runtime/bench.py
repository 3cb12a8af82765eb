"""Latency, throughput, load time, memory and energy of a bundle on this machine."""

from __future__ import annotations

import math
import re
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from targets.detect import machine
from targets.errors import UsageError
from targets.runtime.backends.base import Array
from targets.runtime.energy.measure import EnergyMeter, EnergyReport
from targets.runtime.energy.sources import Found, find_source
from targets.runtime.limits import MAX_RUN_TOKENS
from targets.runtime.profile.record import ShapeProfile
from targets.runtime.profile.run import profile

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle
    from targets.runtime.session import Session

DEFAULT_SHAPES = ((1, 32), (1, 128), (8, 128))

_WARMUP_RUNS = 3
_MIN_RUNS = 5
_MAX_SECONDS = 3600
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class ShapeTiming:
    """One run of `batch` texts of `length` tokens.

    Attributes:
        batch: texts.
        length: tokens of each.
        p50_ms: median latency of a run, in milliseconds.
        p95_ms: its 95th percentile.
        p99_ms: its 99th percentile.
        texts_per_s: texts a second.
        energy_j: joules of one text, all that the source sees; None where they were not measured.
    """

    batch: int
    length: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    texts_per_s: float
    energy_j: float | None = None


@dataclass(frozen=True, slots=True)
class BenchReport:
    """What a bench measured.

    Attributes:
        shapes: one timing for each shape.
        load_s: seconds from an open bundle to a session: backend import, hashes, model.
        first_run_s: seconds of the first run.
        rss_mb: the largest memory of the process so far, in MiB.
        energy: what measured the energy, or why nothing did.
        profile: one for each shape, where it was asked for.
        emulated: the id of the CPU under whose emulation it ran; then no time is a number, for none means
            anything. Empty on a real machine.
    """

    shapes: tuple[ShapeTiming, ...]
    load_s: float
    first_run_s: float
    rss_mb: float
    energy: EnergyReport
    profile: tuple[ShapeProfile, ...] | None = None
    emulated: str = ""

    @property
    def energy_j(self) -> float | None:
        """Joules of one text of the first shape; None where they were not measured."""
        return self.shapes[0].energy_j if self.shapes else None

    def to_dict(self) -> dict[str, Any]:
        """The fields and `energy_j`, ready for JSON; what is not a number is null."""
        shapes = [_numbers(asdict(shape)) for shape in self.shapes]
        found = {**_numbers(asdict(self)), "shapes": shapes, "energy_j": self.energy_j}
        del found["profile"]
        if not self.emulated:
            del found["emulated"]
        if self.profile is not None:
            found["profile"] = [each.to_dict() for each in self.profile]
        return found


def bench(
    bundle: Bundle,
    shapes: Sequence[tuple[int, int]] | None = None,
    *,
    seconds: float = 2.0,
    iterations: int | None = None,
    threads: int | None = None,
    profiled: bool = False,
    energy: Found | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BenchReport:
    """Times a bundle on random token ids, nothing padded, and measures its energy where the machine tells it.

    Energy has windows of its own, so that reading it disturbs no latency: one of idling before the bundle is
    loaded, and after the timing of each shape one of `seconds`, but 1 at least and 60 at most.
    Under an emulator every shape runs once, and no time is reported.

    Args:
        bundle: an open bundle.
        shapes: (batch, tokens) of each timing; None for `default_shapes`.
        seconds: time spent on each shape.
        iterations: runs of each shape instead; None lets `seconds` decide, 5 runs at least.
        threads: threads of one run; None or 0 for every physical core.
        profiled: whether to profile each shape as well, after everything is timed.
        energy: what measures energy; None for what the machine exposes.
        progress: called with the shapes done and their total.

    Raises:
        UsageError: a shape that the model does not read, or no time to measure in.
        IncompatibleError: the machine does not fit; see `Bundle.check_device`.
    """
    limit = bundle.manifest.tokenizer.max_length
    shapes = default_shapes(limit) if shapes is None else shapes
    check_shapes(shapes, limit)
    if not 0 < seconds <= _MAX_SECONDS or (iterations is not None and iterations < 1):
        raise UsageError(
            "no time that can be measured in", f"give up to {_MAX_SECONDS} seconds, or 1 iteration or more"
        )
    emulated = machine().emulated
    if emulated:
        return _emulated(bundle, shapes, threads, emulated, profiled=profiled)
    meter = EnergyMeter(energy or find_source(gpu=bundle.manifest.engine is not None))
    meter.idle()
    start = time.perf_counter()
    with bundle.session(threads=threads) as session:
        load_s = time.perf_counter() - start
        session.prepare([length for batch, length in shapes if batch == 1])
        timings = []
        for done, (batch, length) in enumerate(shapes, start=1):
            feeds = _random_feeds(session, batch, length)
            timing = _time_shape(session, feeds, seconds, iterations)
            joules = meter.per_text(partial(session.run, feeds), batch, seconds)
            timings.append(replace(timing, energy_j=joules))
            if progress is not None:
                progress(done, len(shapes))
        first_run_s = session.timings.first_run_s or 0.0
    report = BenchReport(
        tuple(timings), round(load_s, 4), round(first_run_s, 4), round(peak_rss_mb(), 1), meter.report
    )
    if not profiled:
        return report
    found = profile(bundle, shapes, seconds=seconds, iterations=iterations, threads=threads)
    return replace(report, profile=found)


def _emulated(
    bundle: Bundle, shapes: Sequence[tuple[int, int]], threads: int | None, cpu: str, *, profiled: bool
) -> BenchReport:
    if profiled:
        raise UsageError("there is nothing to profile under emulation", "profile on the device itself")
    with bundle.session(threads=threads) as session:
        for batch, length in shapes:
            session.run(_random_feeds(session, batch, length))
    nothing = math.nan
    timings = tuple(ShapeTiming(*shape, nothing, nothing, nothing, nothing) for shape in shapes)
    energy = EnergyReport(None, None, f"{cpu} is emulated")
    return BenchReport(timings, nothing, nothing, nothing, energy, emulated=cpu)


def _numbers(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in fields.items()
    }


def default_shapes(max_length: int) -> list[tuple[int, int]]:
    """`DEFAULT_SHAPES`, their lengths cut to what a model reads, each once."""
    return list(dict.fromkeys((batch, min(length, max_length)) for batch, length in DEFAULT_SHAPES))


def check_shapes(shapes: Sequence[tuple[int, int]], max_length: int) -> None:
    """Refuses shapes that a model does not read.

    Raises:
        UsageError: no shape, a batch below 1 or above 1024, a length outside [1, max_length], or more than
            `MAX_RUN_TOKENS` tokens.
    """
    if not shapes:
        raise UsageError("no shape to measure", "give one, as in 8x128")
    for batch, length in shapes:
        if not (1 <= batch <= 1024 and 1 <= length <= max_length):
            raise UsageError(
                f"the shape {batch}x{length} cannot be measured",
                f"give a batch of 1 to 1024 and a length of 1 to {max_length}",
            )
        if batch * length > MAX_RUN_TOKENS:
            raise UsageError(
                f"the shape {batch}x{length} is {batch * length} tokens", f"give at most {MAX_RUN_TOKENS}"
            )


def parse_shape(text: str) -> tuple[int, int]:
    """Reads a shape such as `8x128`: batch and tokens.

    Raises:
        UsageError: it is not written so.
    """
    match = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text.strip().lower())
    if match is None:
        raise UsageError(f"{text[:40]!r} is not a shape", "write batch x tokens, as in 8x128")
    return int(match[1]), int(match[2])


def peak_rss_mb() -> float:
    """The largest resident memory of this process so far, in MiB."""
    try:
        match = re.search(r"^VmHWM:\s+([0-9]+) kB", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        match = None
    kilobytes = int(match[1]) if match else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / 1024


def _time_shape(
    session: Session, feeds: Mapping[str, Array], seconds: float, iterations: int | None
) -> ShapeTiming:
    batch, length = feeds["input_ids"].shape
    for _ in range(_WARMUP_RUNS):
        session.run(feeds)
    times: list[float] = []
    begin = now = time.perf_counter()
    while len(times) < iterations if iterations else len(times) < _MIN_RUNS or now - begin < seconds:
        session.run(feeds)
        after = time.perf_counter()
        times.append(after - now)
        now = after
    p50, p95, p99 = (round(1000 * float(value), 4) for value in np.percentile(times, (50, 95, 99)))
    return ShapeTiming(batch, length, p50, p95, p99, round(batch * len(times) / sum(times), 2))


def _random_feeds(session: Session, batch: int, length: int) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    return {"input_ids": rng.integers(0, session.encoder.vocab_size, size=(batch, length), dtype=np.int64)}
