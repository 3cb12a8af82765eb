"""The pruning stage of a compile."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from calibration.cache import ArrayCache, cache_key
from compiler.build import choose_runtimes, precision_for
from compiler.deployed import quick_backend
from compiler.evidence import evidence_of
from compiler.latency import full_feeds, interleave, median_ms, speedup
from compiler.options import CompileOptions
from compiler.passes.fold_constants import FoldConstants
from compiler.passes.fuse_qkv import FuseQkv
from compiler.passes.manager import PassManager, PassRecord
from compiler.progress import Clock
from compiler.prune.cost import Flops
from compiler.prune.directions import Answer
from compiler.prune.latency import SHARES, TURNS, Latency, estimate, kind_of, measure
from compiler.prune.options import PruneOptions
from compiler.prune.prune import Pruned, Pruner
from compiler.prune.sequential import STEPS
from compiler.replay.decisions import RecordedCut
from compiler.report.details import pass_lines
from compiler.texts import TextFeeds
from targets.bundle.device import backend_version
from targets.detect import machine
from targets.errors import UsageError
from targets.runtime.backends.base import Backend
from targets.spec import RuntimeProfile, TargetSpec

LENGTH: Final = 128
TOKENS_A_GROUP: Final = 10
_LEAST_VOCABULARY: Final = 6
_TURNS: Final = 40
_SECONDS: Final = 20.0
_WEIGHT_BYTES: Final = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0}


class Pruning:
    """Weighs a graph when it is first asked to, and cuts it to any budget.

    Args:
        model: the float IR, queries, keys and values apart; it is not changed.
        texts: to weigh by.
        answers: the outputs that count.
        options: of the compile.
        max_length: tokens that the model reads; FLOPs are counted for 128, or for these where they are fewer.
        clock: told of every module, and of too few tokens.
    """

    def __init__(
        self,
        model: ir.Model,
        texts: TextFeeds,
        answers: tuple[Answer, ...],
        options: CompileOptions,
        max_length: int,
        clock: Clock,
    ) -> None:
        self._model = model
        self._texts = texts
        self._clock = clock
        self._options = options
        self._length = min(LENGTH, max_length)
        batch, tokens = options.prune_shape
        self._shape = (batch, min(tokens, max_length))
        settings = PruneOptions(
            targets=options.prune_targets,
            align=options.prune_align,
            threads=options.threads,
            seed=options.seed,
        )
        self._pruner = Pruner(model, texts.feeds, answers, settings, warn=clock.progress.warn)
        self._check_tokens(texts)

    @property
    def dense(self) -> ir.Model:
        """The graph that is cut, whole."""
        return self._model

    def tell(self, passes: Sequence[PassRecord]) -> None:
        """What was done to a graph that was cut, to who wants to know."""
        for line in pass_lines(passes):
            self._clock.progress.detail(line)

    def by_flops(self, share: float) -> Pruned:
        """The graph with at most this share of the encoder's FLOPs.

        Raises:
            UsageError: out of reach.
        """
        self._weigh()
        return self._cut(self._pruner.allocate(Flops(self._length), share))

    def by_latency(self, latency: Latency, times: float) -> Pruned:
        """The graph that is so many times as fast, by a table of costs.

        Raises:
            UsageError: out of reach; it says what can be reached.
        """
        self._weigh()
        most = self.reach(latency)
        if times > most:
            raise UsageError(
                f"a speed-up of {times:g} is out of reach: with the least of every module it is {most:.2f} "
                f"({latency.source}, {latency.runtime} at {latency.shape[0]}x{latency.shape[1]})",
                "ask for less, or let both heads and ffn be pruned",
            )
        kept = self._pruner.allocate(latency, 1.0 / times)
        expected = round(1.0 / self._pruner.share(latency, kept), 4)
        record = {**latency.to_json(), "expected_speedup": expected}
        return replace(self._cut(kept), latency=record)

    def as_recorded(self, cut: RecordedCut) -> Pruned:
        """The graph that was cut so before; nothing is timed or chosen.

        Raises:
            UsageError: other modules than this graph's, or numbers of groups that they cannot be cut to.
        """
        kept = {name: after for name, (_, after) in cut.modules.items()}
        self._pruner.check({name: before for name, (before, _) in cut.modules.items()}, kept)
        self._weigh()
        return replace(self._cut(kept), latency=cut.latency, tried=cut.tried)

    def reach(self, latency: Latency) -> float:
        """The largest speed-up that a table promises."""
        none = {each.name: 0 for each in self._pruner.modules}
        left = self._pruner.share(latency, none)
        return 1.0 / left if left > 0 else float("inf")

    def table(self, target: TargetSpec) -> Latency:
        """Costs on a target: those of its profile, or measured where it is this machine, or estimated."""
        profiles = choose_runtimes(target, self._options)
        shipped = self._shipped(target, profiles)
        if shipped is not None:
            return shipped
        first = profiles[0]
        if evidence_of(target, machine()) != "measured":
            precision = precision_for(first, self._options)
            self._clock.progress.warn(
                f"there is no {target.id} to measure on: what modules cost is estimated from FLOPs and bytes"
            )
            return estimate(
                self._model, runtime=first.name, precision=precision, shape=self._shape,
                weight_bytes=_WEIGHT_BYTES.get(precision, 1.0),
            )  # fmt: skip
        return self._measured(self._faster(profiles))

    def compare(self, pruned: Pruned, profile: RuntimeProfile, backend: Backend) -> Pruned:
        """The record with the speed-up of an artifact against the dense model, measured in turns.

        Args:
            pruned: what the artifact was made from.
            profile: of its runtime.
            backend: the artifact, opened.
        """
        with self._clock.stage("timing against the dense model") as steps:
            dense = self._load(profile, self._model)
            steps.expect(_TURNS)
            times = interleave(
                {"dense": dense, "pruned": backend}, self._feeds(), turns=_TURNS, seconds=_SECONDS,
                seed=self._options.seed, advance=steps,
            )  # fmt: skip
            dense.close()
        found = speedup(times["dense"], times["pruned"], seed=self._options.seed)
        measured = [round(each, 3) for each in (found.value, found.low, found.high)]
        return replace(pruned, latency={**pruned.latency, "measured_speedup": measured})

    def _shipped(self, target: TargetSpec, profiles: Sequence[RuntimeProfile]) -> Latency | None:
        """The first table of the profile that is for a model of these sizes, precision and shape."""
        kinds = {kind_of(each) for each in self._pruner.modules}
        wanted = {(each.name, precision_for(each, self._options), self._shape) for each in profiles}
        for each in target.latency:
            if (each.runtime, each.precision, each.shape) in wanted and kinds <= set(each.modules):
                return Latency.of_profile(each)
        return None

    def _faster(self, profiles: tuple[RuntimeProfile, ...]) -> RuntimeProfile:
        """The runtime in which the dense model is fastest."""
        if len(profiles) == 1:
            return profiles[0]
        with self._clock.stage("timing the dense model") as steps:
            backends = {str(place): self._load(each, self._model) for place, each in enumerate(profiles)}
            steps.expect(_TURNS)
            times = interleave(backends, self._feeds(), turns=_TURNS, seconds=_SECONDS, advance=steps)
            for each in backends.values():
                each.close()
        return min(enumerate(profiles), key=lambda each: median_ms(times[str(each[0])]))[1]

    def _measured(self, profile: RuntimeProfile) -> Latency:
        options, cache = self._options, ArrayCache()
        precision = precision_for(profile, options)
        key = self._key(profile)
        known = cache.get(key)
        if known is not None:
            return Latency.from_json(json.loads(bytes(known["table"]).decode()))
        stage = f"timing heads and neurons on {profile.name}"
        with self._clock.stage(stage) as steps:
            found = measure(
                self._model, partial(self._load, profile), self._feeds(), precision=precision,
                align=options.prune_align, seed=options.seed, steps=steps,
            )  # fmt: skip
        cache.put(key, {"table": np.frombuffer(json.dumps(found.to_json()).encode(), np.uint8)})
        return found

    def _key(self, profile: RuntimeProfile) -> str:
        """By machine, runtime, shape and the sizes of the model, whatever its weights."""
        here = machine()
        sizes: dict[str, Any] = {
            each.name: [each.groups, each.group_size, int(each.reader.weight_array.shape[1])]
            for each in self._pruner.modules
        }
        return cache_key(
            {
                "kind": "module latency",
                "turns": TURNS,
                "levels": list(SHARES),
                "cpu": here.cpu_model,
                "cores": here.cores,
                "threads": self._options.threads,
                "runtime": profile.name,
                "version": backend_version(profile.name),
                "precision": precision_for(profile, self._options),
                "shape": list(self._shape),
                "align": self._options.prune_align,
                "modules": sizes,
            }
        )

    def _load(self, profile: RuntimeProfile, model: ir.Model) -> Backend:
        options = self._options
        precision = precision_for(profile, options)
        return quick_backend(model, profile, precision, self._texts.feeds, threads=options.threads)

    def _feeds(self) -> dict[str, Any]:
        return dict(full_feeds(_LEAST_VOCABULARY, *self._shape))

    def _weigh(self) -> None:
        if not self._pruner.weighed:
            with self._clock.stage("weighing heads and neurons", self._pruner.steps) as advance:
                self._pruner.weigh(advance)

    def _cut(self, kept: dict[str, int]) -> Pruned:
        with self._clock.stage("pruning", STEPS) as advance:
            return self._pruner.cut(kept, self._length, advance)

    def _check_tokens(self, texts: TextFeeds) -> None:
        tokens = sum(int(feeds["attention_mask"].sum()) for feeds in texts.feeds)
        groups = max((each.groups for each in self._pruner.modules), default=0)
        if tokens < TOKENS_A_GROUP * groups:
            self._clock.progress.warn(
                f"{tokens} tokens to weigh {groups} neurons by, ten for each are advised: give more or "
                "longer texts, and raise --prune-samples"
            )


def joined(model: ir.Model, options: CompileOptions) -> list[PassRecord]:
    """Join queries, keys and values of a pruned graph where the precision has them so."""
    return [] if options.built == "int8" else PassManager((FuseQkv(), FoldConstants())).run(model)
