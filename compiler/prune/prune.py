"""From a float graph, calibration text and a budget to a smaller graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.options import KINDS, Kind
from compiler.prune.allocate import Level, Module, allocate
from compiler.prune.cost import flops_of_group
from compiler.prune.materialize import Kept, channels, materialize
from compiler.prune.modules import PrunableModule, find_modules
from compiler.prune.moments import Matrix, Moments
from compiler.prune.obs import Snapshot, damped, obs_path
from compiler.prune.refit import Refit, refit
from compiler.prune.walk import Walk
from targets.errors import UsageError

STEP: Final = 32
Batches = Sequence[Mapping[str, NDArray[Any]]]
Advance = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """How to prune.

    Attributes:
        flops: share of the encoder's FLOPs to keep, above 0 and at most 1.
        targets: kinds of module that may be cut.
        align: neurons are left in multiples of it.
        length: tokens of the text that FLOPs are counted for.
        refit: whether readers are solved anew on the pruned stream.
        threads: for onnxruntime, 0 for every core.
    """

    flops: float
    targets: tuple[Kind, ...] = KINDS
    align: int = 64
    length: int = 128
    refit: bool = True
    threads: int = 0


@dataclass(frozen=True, slots=True)
class PrunedModule:
    """What became of a module.

    Attributes:
        name: of the module.
        groups: heads or neurons before.
        kept: after.
        error: of the best compensation on the dense stream, as a share of the stream's own variance.
        refit: the solution on the pruned stream; None where there was none.
    """

    name: str
    groups: int
    kept: int
    error: float
    refit: Refit | None


@dataclass(frozen=True, slots=True)
class Pruned:
    """A pruned graph and what led to it.

    Attributes:
        model: the graph.
        modules: in its order.
        flops_kept: share of the encoder's FLOPs.
        length: tokens of the text that they were counted for.
        declined: modules left alone, with the reason.
    """

    model: ir.Model
    modules: tuple[PrunedModule, ...] = ()
    flops_kept: float = 1.0
    length: int = 0
    declined: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """What the manifest records."""
        return {
            "flops_kept": round(self.flops_kept, 6),
            "flops_removed": round(1.0 - self.flops_kept, 6),
            "length": self.length,
            "modules": [
                {"name": each.name, "groups": each.groups, "kept": each.kept} for each in self.modules
            ],
            "declined": dict(self.declined),
        }


def prune(model: ir.Model, batches: Batches, options: PruneOptions, advance: Advance | None = None) -> Pruned:
    """Removes what the encoder's output depends on least, and makes up for it.

    One dense pass gathers X'X of every reader; OBS paths give each module's error at every level; dynamic
    programming chooses the levels; then each reader is solved anew, from the embeddings upward, so that the
    pruned network's residual stream matches the dense one's.

    Args:
        model: the float IR after the passes; it is not changed.
        batches: calibration feeds.
        options: see `PruneOptions`; a budget of 1 returns the model itself.
        advance: told of a stage, the modules done and their number.

    Raises:
        UsageError: a budget out of bounds, or out of reach.
    """
    if not 0 < options.flops <= 1:
        raise UsageError(f"{options.flops} is no share of the FLOPs", "give more than 0, and at most 1")
    found = find_modules(model)
    if options.flops == 1:
        return Pruned(model, declined=found.declined)
    modules = [each for each in found.modules if each.kind in options.targets]
    fixed = sum(_cost(each, options) for each in found.modules) - sum(
        _cost(each, options) for each in modules
    )
    whole = fixed + sum(_cost(each, options) for each in modules)
    paths = _paths(model, modules, batches, options, advance)
    levels = [
        Module(each.name, tuple(_level(each, snapshot, options) for snapshot in paths[each.name]))
        for each in modules
    ]
    chosen = allocate(levels, options.flops * whole - fixed)
    picked = {
        each.name: next(snapshot for snapshot in paths[each.name] if len(snapshot.kept) == level.kept)
        for each, level in zip(modules, chosen, strict=True)
    }
    refits = _refits(model, modules, batches, picked, options, advance) if options.refit else {}
    kept = {each.name: _kept(each, picked[each.name], refits.get(each.name)) for each in modules}
    changed = {name: each for name, each in kept.items() if each is not None}
    done = tuple(
        PrunedModule(each.name, each.groups, level.kept, level.error, refits.get(each.name))
        for each, level in zip(modules, chosen, strict=True)
    )
    share = (fixed + sum(level.cost for level in chosen)) / whole
    return Pruned(materialize(model, changed), done, share, options.length, found.declined)


def levels_of(module: PrunableModule, align: int) -> list[int]:
    """How many groups may be left, descending from all of them to none."""
    if module.kind == "heads":
        return list(range(module.groups, -1, -1))
    return [module.groups, *(each for each in range(module.groups // align * align, -1, -align)
                             if each < module.groups)]  # fmt: skip


def _cost(module: PrunableModule, options: PruneOptions) -> float:
    return float(module.groups * flops_of_group(module, options.length))


def _level(module: PrunableModule, snapshot: Snapshot, options: PruneOptions) -> Level:
    kept = len(snapshot.kept)
    return Level(kept, float(kept * flops_of_group(module, options.length)), snapshot.error)


def _paths(
    model: ir.Model,
    modules: Sequence[PrunableModule],
    batches: Batches,
    options: PruneOptions,
    advance: Advance | None,
) -> dict[str, list[Snapshot]]:
    """The snapshots of every module, errors as shares of the variance of the stream that they go into."""
    walk = Walk(model, modules, batches, both=False, threads=options.threads)
    paths: dict[str, list[Snapshot]] = {}
    for module in walk.modules():
        weight, bias = _weights(module)
        gram = np.zeros((len(weight), len(weight)))
        power = 0.0
        for rows in walk.rows(module):
            read = rows.dense.astype(np.float64)
            gram += read.T @ read
            total = rows.stream + read @ weight + bias
            power += float(np.sum((total - total.mean(axis=1, keepdims=True)) ** 2))
        scale = 1.0 / power if power > 0 else 1.0
        path = obs_path(
            damped(gram), weight, levels_of(module, options.align), group_size=module.group_size,
            step=1 if module.kind == "heads" else STEP,
        )  # fmt: skip
        paths[module.name] = [Snapshot(each.kept, each.weight, each.error * scale) for each in path]
        if advance is not None:
            advance("weighing", len(paths), len(modules))
    return paths


def _refits(
    model: ir.Model,
    modules: Sequence[PrunableModule],
    batches: Batches,
    picked: Mapping[str, Snapshot],
    options: PruneOptions,
    advance: Advance | None,
) -> dict[str, Refit]:
    walk = Walk(model, modules, batches, both=True, threads=options.threads)
    found: dict[str, Refit] = {}
    started = False
    for done, module in enumerate(walk.modules(), 1):
        snapshot = picked[module.name]
        started = started or len(snapshot.kept) < module.groups
        if started:
            found[module.name] = _refit(walk, module, snapshot)
            weight = np.zeros((module.groups * module.group_size, len(found[module.name].weight[-1])))
            weight[channels(snapshot.kept, module.group_size)] = found[module.name].weight[:-1]
            walk.give(module, weight, found[module.name].weight[-1])
        if advance is not None:
            advance("refitting", done, len(modules))
    return found


def _refit(walk: Walk, module: PrunableModule, snapshot: Snapshot) -> Refit:
    weight, bias = _weights(module)
    columns = channels(snapshot.kept, module.group_size)
    fit, held_out = (Moments(len(columns), len(bias)) for _ in range(2))
    for rows in walk.rows(module):
        wanted = rows.stream + rows.dense.astype(np.float64) @ weight + bias - rows.drifted
        (held_out if rows.held_out else fit).add(rows.pruned[:, columns], wanted)
    return refit(fit, held_out if held_out.rows else fit, np.vstack([snapshot.weight, bias]))


def _weights(module: PrunableModule) -> tuple[Matrix, Matrix]:
    weight = module.reader.weight_array.astype(np.float64)
    bias = module.reader.bias_array
    return weight, np.zeros(weight.shape[1]) if bias is None else bias.astype(np.float64)


def _kept(module: PrunableModule, snapshot: Snapshot, done: Refit | None) -> Kept | None:
    if done is not None and (done.ridge is not None or len(snapshot.kept) < module.groups):
        return Kept(snapshot.kept, done.weight[:-1], done.weight[-1])
    return None if len(snapshot.kept) == module.groups else Kept(snapshot.kept, snapshot.weight)
