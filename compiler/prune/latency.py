"""What a module costs in milliseconds: measured in the runtime that ships, or estimated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.latency import Feeds, Times, interleave
from compiler.progress import Steps
from compiler.prune.cost import flops_of_group
from compiler.prune.materialize import materialize
from compiler.prune.modules import PrunableModule, find_modules
from targets.latency import ModuleTimes
from targets.runtime.backends.base import Backend

Source = Literal["measured", "profile", "estimated"]
Load = Callable[[ir.Model], Backend]
Advance = Callable[[int], None]

TURNS: Final = 60
SECONDS: Final = 60.0
DENSE: Final = "dense"
SHARES: Final = (0.5, 0.25, 0.0)
FLOPS_A_BYTE: Final = 32.0
"""Multiply-adds and additions that a machine makes in the time in which it reads one byte of weights: of the
order of what two to four cores with INT8 products reach."""
_OVERHEAD: Final = 0.1
_DIGITS: Final = 5


@dataclass(frozen=True, slots=True)
class Curve:
    """Milliseconds of a module by what is kept of it.

    Attributes:
        kept: groups, ascending from 0.
        ms: never less for more groups.
    """

    kept: tuple[int, ...]
    ms: tuple[float, ...]

    def at(self, kept: int) -> float:
        """The straight line between the two levels that were measured."""
        return float(np.interp(kept, self.kept, self.ms))


@dataclass(frozen=True, slots=True)
class Latency:
    """Costs in milliseconds of one run.

    Attributes:
        source: measured here, from the target's profile, or estimated from FLOPs and bytes.
        runtime: that ran them.
        precision: of the products.
        shape: batch and tokens.
        fixed: milliseconds of what is in no module.
        curves: by `kind_of` a module.
    """

    source: Source
    runtime: str
    precision: str
    shape: tuple[int, int]
    fixed: float
    curves: Mapping[str, Curve]

    def of(self, module: PrunableModule, kept: int) -> float:
        """What a module costs with so many groups kept."""
        return self.curves[kind_of(module)].at(kept)

    @staticmethod
    def of_profile(times: ModuleTimes) -> Latency:
        """What a target's profile has."""
        curves = {
            kind: Curve(tuple(kept for kept, _ in pairs), tuple(ms for _, ms in pairs))
            for kind, pairs in times.modules.items()
        }
        return Latency("profile", times.runtime, times.precision, times.shape, times.fixed_ms, curves)

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Latency:
        """What `to_json` wrote."""
        curves = {
            str(kind): Curve(tuple(int(kept) for kept, _ in pairs), tuple(float(ms) for _, ms in pairs))
            for kind, pairs in document["modules"].items()
        }
        batch, tokens = document["shape"]
        return Latency(
            document["source"], document["runtime"], document["precision"], (batch, tokens),
            float(document["fixed_ms"]), curves,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "source": self.source,
            "runtime": self.runtime,
            "precision": self.precision,
            "shape": list(self.shape),
            "fixed_ms": self.fixed,
            "modules": {
                kind: [list(pair) for pair in zip(each.kept, each.ms, strict=True)]
                for kind, each in self.curves.items()
            },
        }


def kind_of(module: PrunableModule) -> str:
    """What modules of equal cost have in common: `ffn 1536x1 of 384`, heads likewise, with `, one row`."""
    width = int(module.reader.weight_array.shape[1])
    row = ", one row" if module.single else ""
    return f"{module.kind} {module.groups}x{module.group_size} of {width}{row}"


def levels_to_time(module: PrunableModule, align: int) -> list[int]:
    """A few levels, descending from the first below the whole to 0; only that where there is one row.

    More levels would each be less certain in the same time, and products of one row take next to none.
    """
    if module.single:
        return [0]
    step = 1 if module.kind == "heads" else align
    found = {int(module.groups * share) // step * step for share in SHARES}
    return sorted((each for each in found if each < module.groups), reverse=True)


def measure(
    model: ir.Model,
    load: Load,
    feeds: Feeds,
    *,
    precision: str,
    align: int = 64,
    seed: int = 0,
    steps: Steps | None = None,
) -> Latency:
    """Time the whole model with all modules of one kind cut to one level, against the whole, in turns.

    Whole models are timed because a product's quantization and its neighbours are fused into it, and because
    weights that do not fit a cache are read again in each run. A module's curve is its share of the
    difference to the model without any module of its kind.

    Args:
        model: the float IR; it is not changed.
        load: quantizes and lowers a graph as it will be deployed, and opens it in its runtime.
        feeds: int64 [batch, tokens] by input name: the shape that the times are for.
        precision: for the record.
        align: neurons are timed in multiples of it.
        seed: of the turns' orders.
        steps: told of every model made, and then of the turns.
    """
    kinds = _by_kind(find_modules(model).modules)
    if steps is not None:
        steps.expect(1 + sum(len(levels_to_time(each[0], align)) for each in kinds.values()), last=False)
    with ExitStack() as stack:
        backends: dict[str, Backend] = {}

        def add(name: str, graph: ir.Model) -> None:
            backends[name] = load(graph)
            stack.callback(backends[name].close)
            if steps is not None:
                steps(1)

        add(DENSE, model)
        for kind, members in kinds.items():
            for level in levels_to_time(members[0], align):
                kept = np.arange(level)
                add(
                    _name(kind, level),
                    materialize(model, dict.fromkeys([each.name for each in members], kept)),
                )
        if steps is not None:
            steps.expect(TURNS)
        times = interleave(backends, feeds, turns=TURNS, seconds=SECONDS, seed=seed, advance=steps)
        runtime = backends[DENSE].name
    curves = {kind: _curve(kind, members, times, align) for kind, members in kinds.items()}
    batch, tokens = feeds["input_ids"].shape
    spent = sum(len(members) * curves[kind].ms[-1] for kind, members in kinds.items())
    fixed = round(max(float(np.median(times[DENSE])) - spent, 0.0), _DIGITS)
    return Latency("measured", runtime, precision, (batch, tokens), fixed, curves)


def estimate(
    model: ir.Model, *, runtime: str, precision: str, shape: tuple[int, int], weight_bytes: float
) -> Latency:
    """A roofline: each module takes as long as its FLOPs or its weights' bytes, whichever is more.

    The unit is not milliseconds but the time of a million FLOPs, since no rate is known; a tenth of the whole
    is added for what lies outside the modules. Ratios are what it is for.

    Args:
        model: the float IR.
        runtime: for the record.
        precision: for the record.
        shape: batch and tokens.
        weight_bytes: of one weight as it is deployed.
    """
    curves = {}
    total = 0.0
    for kind, members in _by_kind(find_modules(model).modules).items():
        module = members[0]
        flops = shape[0] * flops_of_group(module, shape[1])
        rows = sum(int(each.weight_array.shape[0]) for each in module.writers)
        parameters = module.group_size * (rows + int(module.reader.weight_array.shape[1]))
        unit = max(float(flops), parameters * weight_bytes * FLOPS_A_BYTE) / 1e6
        curves[kind] = Curve((0, module.groups), (0.0, round(unit * module.groups, _DIGITS)))
        total += len(members) * curves[kind].ms[-1]
    return Latency("estimated", runtime, precision, shape, round(_OVERHEAD * total, _DIGITS), curves)


def _by_kind(modules: Sequence[PrunableModule]) -> dict[str, list[PrunableModule]]:
    found: dict[str, list[PrunableModule]] = {}
    for each in modules:
        found.setdefault(kind_of(each), []).append(each)
    return found


def _name(kind: str, level: int) -> str:
    return f"{kind}: {level}"


def _curve(kind: str, members: Sequence[PrunableModule], times: Times, align: int) -> Curve:
    levels = [members[0].groups, *levels_to_time(members[0], align)][::-1]
    names = [_name(kind, level) for level in levels[:-1]]
    none = times[names[0]]
    gains = [float(np.median(times[name] - none)) for name in (*names, DENSE)]
    ms = np.maximum(rising(np.array(gains)), 0.0) / len(members)
    return Curve(tuple(levels), tuple(round(float(each), _DIGITS) for each in ms))


def rising(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest numbers, in squares, that never fall: pooling adjacent violators (Ayer et al., 1955)."""
    means: list[float] = []
    counts: list[int] = []
    for value in values.tolist():
        means.append(value)
        counts.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            count = counts[-2] + counts[-1]
            means[-2:] = [(means[-2] * counts[-2] + means[-1] * counts[-1]) / count]
            counts[-2:] = [count]
    return np.repeat(means, counts)
