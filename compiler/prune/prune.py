"""From a float graph, calibration text and a budget to a smaller graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from calibration.sampler import thinned
from compiler.ir.work import Texts
from compiler.progress import in_turn, spread
from compiler.prune.allocate import Level, Module, allocate, allocate_uniform
from compiler.prune.baselines import magnitude_scores, ranked_path, wanda_scores
from compiler.prune.cost import Costs, Flops, total
from compiler.prune.directions import Answer
from compiler.prune.gradients import MOST_TOKENS, sensitivities, square_root
from compiler.prune.materialize import channels, materialize
from compiler.prune.modules import PrunableModule, find_modules
from compiler.prune.moments import Matrix
from compiler.prune.obs import Snapshot, compensated, damped, obs_path
from compiler.prune.options import PruneOptions
from compiler.prune.refit import Refit
from compiler.prune.sequential import Cut, solve_in_sequence
from compiler.prune.statistics import Batches, Statistics, gather, weights_of
from compiler.prune.work import gather_works, gradient_works, path_work
from targets.errors import UnsupportedError, UsageError

STEP: Final = 32
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class PrunedModule:
    """What became of a module.

    Attributes:
        name: of the module.
        groups: heads or neurons before.
        kept: after.
        error: expected by the best compensation on the dense stream, in the metric of the options.
    """

    name: str
    groups: int
    kept: int
    error: float


@dataclass(frozen=True, slots=True)
class Pruned:
    """A pruned graph and what led to it.

    Attributes:
        model: the graph.
        modules: in its order.
        flops_kept: share of the encoder's FLOPs.
        length: tokens of the text that they were counted for.
        declined: modules left alone, with the reason.
        refits: what came of solving products anew, by their names.
        latency: the table that the budget was counted in and what came of it; empty for FLOPs.
        tried: the budgets that `--prune auto` went through.
    """

    model: ir.Model
    modules: tuple[PrunedModule, ...] = ()
    flops_kept: float = 1.0
    length: int = 0
    declined: Mapping[str, str] = field(default_factory=dict)
    refits: Mapping[str, Refit] = field(default_factory=dict)
    latency: Mapping[str, Any] = field(default_factory=dict)
    tried: tuple[Mapping[str, Any], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """What the manifest records."""
        return {
            "flops_kept": round(self.flops_kept, 6),
            "flops_removed": round(1.0 - self.flops_kept, 6),
            "length": self.length,
            "modules": [
                {"name": each.name, "groups": each.groups, "kept": each.kept} for each in self.modules
            ],
            "refitted": sum(each.ridge is not None for each in self.refits.values()),
            "declined": dict(self.declined),
            **({"latency": dict(self.latency)} if self.latency else {}),
            **({"tried": [dict(each) for each in self.tried]} if self.tried else {}),
        }


class Pruner:
    """Weighs the modules of a graph once, and then cuts it to any budget.

    One dense pass gathers X'X of every reader, one with gradients how far the answers move with what each
    module gives; OBS paths give each module's error at every level.

    Args:
        model: the float IR after the passes; it is not changed.
        batches: calibration feeds.
        answers: the outputs that count; without any, or where they cannot be differentiated, errors are
            shares of the stream's variance.
        options: see `PruneOptions`.
        warn: told where the answers cannot be differentiated, and what follows.

    Attributes:
        modules: that may be cut, in the graph's order.
        declined: those that may not, with the reason.
    """

    def __init__(
        self,
        model: ir.Model,
        batches: Batches,
        answers: Sequence[Answer] = (),
        options: PruneOptions | None = None,
        *,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """Finds the modules and weighs nothing yet."""
        self._model = model
        self._batches = batches
        self._options = options or PruneOptions()
        self._answers = tuple(answers) if self._options.metric else ()
        self._warn = warn
        found = find_modules(model)
        self.modules = tuple(each for each in found.modules if each.kind in self._options.targets)
        self.declined = found.declined
        self._whole = found.modules
        self._statistics: Mapping[str, Statistics] = {}
        self._moments: Mapping[str, Matrix] = {}
        self._paths: dict[str, list[Snapshot]] = {}

    @property
    def weighed(self) -> bool:
        """Whether `weigh` was called."""
        return len(self._paths) == len(self.modules)

    @property
    def steps(self) -> int:
        """The steps that `weigh` tells its `advance` of."""
        batches = len(thinned(self._batches, MOST_TOKENS)) if self._answers else 0
        return 2 * len(self.modules) + batches

    def weigh(self, advance: Advance | None = None) -> None:
        """The error of every module at every level; the first call that needs it makes it.

        Args:
            advance: called with steps in proportion to the work done, `steps` in all.
        """
        if self.weighed:
            return
        told = self._in_turn(advance or (lambda _: None))
        if not self._statistics:
            self._moments = self._differentiated(told)
            self._statistics = gather(
                self._model, self.modules, self._batches, threads=self._options.threads, advance=told
            )
        moments = self._moments if self._options.metric else {}
        for module in self.modules:
            self._paths[module.name] = self._path(module, moments.get(module.name))
            told(1)

    def like(self, options: PruneOptions) -> Pruner:
        """The same statistics, once weighed, with other ways to choose and to solve."""
        other = Pruner(self._model, self._batches, self._answers, options, warn=self._warn)
        other._statistics, other._moments = self._statistics, self._moments
        return other

    def share(self, costs: Costs, kept: Mapping[str, int]) -> float:
        """What is left of the costs of the whole."""
        left = costs.fixed + sum(costs.of(each, kept.get(each.name, each.groups)) for each in self._whole)
        return left / total(costs, self._whole)

    def levels(self, costs: Costs) -> list[Module]:
        """Every module's choices."""
        self.weigh()
        return [
            Module(
                each.name,
                tuple(
                    Level(len(level.kept), costs.of(each, len(level.kept)), level.error)
                    for level in self._paths[each.name]
                ),
            )
            for each in self.modules
        ]

    def allocate(self, costs: Costs, share: float) -> dict[str, int]:
        """How many groups of each module to keep, by its name.

        Args:
            costs: in the budget's unit.
            share: of the whole's costs that may be left, above 0.

        Raises:
            UsageError: out of reach.
        """
        modules = self.levels(costs)
        movable = sum(max(level.cost for level in each.levels) for each in modules)
        budget = share * total(costs, self._whole) - (total(costs, self._whole) - movable)
        choose = allocate if self._options.allocation == "error" else allocate_uniform
        chosen = choose(modules, budget)
        return {each.name: level.kept for each, level in zip(modules, chosen, strict=True)}

    def check(self, groups: Mapping[str, int], kept: Mapping[str, int]) -> None:
        """Compare a choice that was made before with the modules.

        Args:
            groups: of each module before it is cut, by its name.
            kept: after.

        Raises:
            UsageError: other modules, or a number that is none of a module's levels.
        """
        if {each.name: each.groups for each in self.modules} != dict(groups):
            raise UsageError("these are not the modules of the model", "cut a model of this architecture")
        for each in self.modules:
            if kept[each.name] not in levels_of(each, self._options.align):
                raise UsageError(
                    f"{each.name} cannot be cut to {kept[each.name]}", "cut to a multiple of the alignment"
                )

    def cut(self, kept: Mapping[str, int], length: int, advance: Advance | None = None) -> Pruned:
        """The graph with so many groups of each module, solved anew on the pruned stream.

        Args:
            kept: from `allocate`; where nothing goes, the graph is the same.
            length: tokens of the text that FLOPs are reported for.
            advance: called with steps in proportion to the work done, `sequential.STEPS` in all.
        """
        self.weigh()
        cuts = [self._cut(each, kept.get(each.name, each.groups)) for each in self.modules]
        done = tuple(
            PrunedModule(each.module.name, each.module.groups, len(each.groups), self._error(each))
            for each in cuts
        )
        share = self.share(Flops(length), kept)
        weights, refits = solve_in_sequence(
            self._model,
            cuts,
            self._batches,
            scope=self._options.refit,
            threads=self._options.threads,
            advance=advance,
        )
        left = {each.module.name: each.groups for each in cuts if each.changes}
        model = materialize(self._model, left, weights) if left else self._model
        return Pruned(model, done, share, length, self.declined, refits)

    def _in_turn(self, advance: Advance) -> Advance:
        """What is called with 1 after each piece of `weigh`."""
        works: list[float] = []
        if not self._statistics:
            if self._answers:
                works += gradient_works(self._model, thinned(self._batches, MOST_TOKENS))
            works += gather_works(self._model, self.modules, Texts.of(self._batches))
        works += [path_work(each) for each in self.modules]
        return in_turn(spread(advance, self.steps, sum(works)), works)

    def _differentiated(self, advance: Advance) -> Mapping[str, Matrix]:
        if not self._answers or not self.modules:
            return {}
        options = self._options
        try:
            return sensitivities(
                self._model, self.modules, self._batches, self._answers,
                seed=options.seed, threads=options.threads, advance=advance,
            )  # fmt: skip
        except UnsupportedError as error:
            if self._warn is not None:
                self._warn(f"{error.message}: what to cut is chosen by the layers' own errors, less exactly")
            return {}

    def _path(self, module: PrunableModule, moments: Matrix | None) -> list[Snapshot]:
        statistics, options = self._statistics[module.name], self._options
        weight, _ = weights_of(module)
        variance = statistics.variance if statistics.variance > 0 else 1.0
        weight = weight / np.sqrt(variance) if moments is None else weight @ square_root(moments)
        levels = levels_of(module, options.align)
        if options.select == "obs":
            step = 1 if module.kind == "heads" else STEP
            hessian = damped(statistics.gram)
            return list(obs_path(hessian, weight, levels, group_size=module.group_size, step=step))
        if options.select == "wanda":
            return list(ranked_path(wanda_scores(statistics.gram, weight, module.group_size), levels))
        own, _ = weights_of(module)
        return list(ranked_path(magnitude_scores(own, module.group_size) / np.sum(own**2), levels))

    def _cut(self, module: PrunableModule, kept: int) -> Cut:
        groups = next(each.kept for each in self._paths[module.name] if len(each.kept) == kept)
        weight, _ = weights_of(module)
        rows = channels(groups, module.group_size)
        if self._options.select == "magnitude":
            return Cut(module, groups, weight[rows])
        return Cut(module, groups, compensated(damped(self._statistics[module.name].gram), weight, rows))

    def _error(self, cut: Cut) -> float:
        path = self._paths[cut.module.name]
        return next(each.error for each in path if len(each.kept) == len(cut.groups))


def levels_of(module: PrunableModule, align: int) -> list[int]:
    """How many groups may be left, descending from all of them to none."""
    if module.kind == "heads":
        return list(range(module.groups, -1, -1))
    return [module.groups, *(each for each in range(module.groups // align * align, -1, -align)
                             if each < module.groups)]  # fmt: skip
