"""What INT8 saves at each kind of product, measured in the runtime that ships."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration.cache import ArrayCache, cache_key
from compiler.latency import Feeds, Times, interleave
from compiler.progress import Steps
from compiler.quantize.mixed import with_float
from compiler.quantize.plan import QuantPlan
from compiler.quantize.sensitivity import Group
from targets.detect import machine
from targets.runtime.backends.base import Backend

TURNS: Final = 15
SECONDS: Final = 3.0
BASE: Final = "all INT8"
LEAST_MS: Final = 1e-3
"""Below what a clock and a scheduler let one see."""
_MEDIAN_ERROR: Final = 1.2533
_DEVIATION: Final = 1.4826
_DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class LatencyTable:
    """Milliseconds that INT8 saves, by kind of group.

    Attributes:
        runtime: that ran them.
        shape: batch and tokens of the measurement.
        saved_ms: for one group of each kind; never below what the measurement can tell from nothing.
    """

    runtime: str
    shape: tuple[int, int]
    saved_ms: Mapping[str, float]

    @property
    def label(self) -> str:
        """`1x128` for one text of 128 tokens."""
        return f"{self.shape[0]}x{self.shape[1]}"


def measure_table(
    plan: QuantPlan,
    groups: Sequence[Group],
    load: Callable[[QuantPlan], Backend],
    feeds: Feeds,
    *,
    seed: int = 0,
    threads: int = 0,
    steps: Steps | None = None,
    cache: ArrayCache | None = None,
) -> LatencyTable:
    """Time the INT8 model against itself with all groups of one kind in float, interleaved.

    All layers' groups of a kind have the same shapes, so that the difference is shared out among them, and
    is larger than what one group's would be. Whole models are timed because a product's quantization is
    fused into what comes before and after it.

    Args:
        plan: all INT8.
        groups: of the plan.
        load: lowers a plan and opens it in its runtime.
        feeds: int64 [batch, tokens] by input name: the shape that the times are for.
        seed: of the turns' orders.
        threads: that `load` opens with, for the cache's key.
        steps: told of every model made, and then of the turns.
        cache: keeps tables by machine, runtime and shapes, whatever the weights: two compiles of one
            architecture then see the same costs.
    """
    by_kind: dict[str, list[Group]] = {}
    for group in groups:
        by_kind.setdefault(group.kind, []).append(group)
    batch, tokens = feeds["input_ids"].shape
    with ExitStack() as stack:
        base = load(plan)
        stack.callback(base.close)
        key = _key(base, plan, by_kind, (batch, tokens), threads)
        known = None if cache is None else cache.get(key)
        if known is not None:
            saved = {kind: float(known[kind]) for kind in by_kind}
            return LatencyTable(base.name, (batch, tokens), saved)
        backends = {BASE: base}
        if steps is not None:
            steps.expect(len(by_kind), last=False)
        for kind, members in by_kind.items():
            names = [name for each in members for name in each.names]
            backends[kind] = load(with_float(plan, names, "timed"))
            stack.callback(backends[kind].close)
            if steps is not None:
                steps(1)
        if steps is not None:
            steps.expect(TURNS)
        times = interleave(backends, feeds, turns=TURNS, seconds=SECONDS, seed=seed, advance=steps)
    saved = savings(times, {kind: len(members) for kind, members in by_kind.items()})
    if cache is not None:
        cache.put(key, {kind: np.array(each) for kind, each in saved.items()})
    return LatencyTable(base.name, (batch, tokens), saved)


def savings(times: Times, counts: Mapping[str, int]) -> dict[str, float]:
    """Milliseconds that one group of each kind saves.

    The median over the turns of the difference to the INT8 model of the same turn, but no less than its
    standard error: a kind whose saving cannot be told from nothing costs what the measurement can tell.

    Args:
        times: milliseconds of `BASE` and of the variant of each kind in the same turns, [turns].
        counts: groups of each kind.
    """
    found = {}
    for kind, count in counts.items():
        gain = times[kind] - times[BASE]
        found[kind] = round(max(float(np.median(gain)), _standard_error(gain), LEAST_MS) / count, _DIGITS)
    return {kind: max(each, LEAST_MS) for kind, each in found.items()}


def _standard_error(values: NDArray[np.float64]) -> float:
    """Of the median, from the median absolute deviation."""
    deviation = float(np.median(np.abs(values - np.median(values))))
    return _MEDIAN_ERROR * _DEVIATION * deviation / float(np.sqrt(len(values)))


def _key(
    base: Backend,
    plan: QuantPlan,
    kinds: Mapping[str, Sequence[Group]],
    shape: tuple[int, int],
    threads: int,
) -> str:
    here = machine()
    return cache_key(
        {
            "kind": "latency table",
            "cpu": here.cpu_model,
            "cores": here.cores,
            "threads": threads,
            "runtime": base.name,
            "version": base.version,
            "shape": list(shape),
            "groups": {kind: len(members) for kind, members in kinds.items()},
            "scheme": {key: str(value) for key, value in plan.scheme.items() if key != "search"},
        }
    )
