"""What is built for a target, in the order in which it is validated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from compiler.auto_precision import AutoPrecision
from compiler.auto_prune import GRID, tried, walk_down
from compiler.build import LOWERINGS, Candidate, build, open_artifact
from compiler.evidence import evidence_of
from compiler.lower.artifact import Artifact
from compiler.options import CompileOptions
from compiler.progress import Clock
from compiler.pruning import Pruning
from compiler.quantize.mixed import Gate
from compiler.source import Source
from compiler.validate import Validation
from targets.detect import machine
from targets.errors import InternalError
from targets.runtime.backends.base import Backend
from targets.spec import TargetSpec

Attempt = tuple[Source, list[Candidate]]


class Strategy(Protocol):
    """What a compile builds for its targets."""

    @property
    def searches(self) -> bool:
        """Whether it runs texts that were held out of the calibration data."""

    def of(self, source: Source, spec: TargetSpec) -> Iterator[Attempt]:
        """What to validate for a target, the preferred one first."""

    def with_speedup(self, source: Source, spec: TargetSpec, best: Candidate) -> Source:
        """With a speed-up in the record of the pruning, where the budget was one of time."""


class Attempts:
    """Prunes, quantizes and lowers a source for one target after the other, choosing by what it measures.

    Args:
        options: of the compile.
        clock: told of every stage.
    """

    def __init__(self, options: CompileOptions, clock: Clock) -> None:
        """Builds nothing yet."""
        self._machine = machine()
        self._options = options
        self._clock = clock
        self._shared: AutoPrecision | None = None

    @property
    def searches(self) -> bool:
        """Whether `--precision auto` or `--prune auto` choose."""
        return self._options.searched

    def of(self, source: Source, spec: TargetSpec) -> Iterator[Attempt]:
        """What to validate, the preferred one first; `--prune auto` has slower ones behind it."""
        options, pruning = self._options, source.pruning
        if options.prune == "auto" and pruning is not None:
            yield from self._auto_pruned(source, pruning, spec)
            return
        if options.prune_speedup is not None and pruning is not None:
            source = source.cut(pruning.by_latency(pruning.table(spec), options.prune_speedup), options)
        yield source, self._build(source, spec)

    def _auto_pruned(self, source: Source, pruning: Pruning, spec: TargetSpec) -> Iterator[Attempt]:
        table = pruning.table(spec)

        def attempt(times: float) -> tuple[Attempt, Validation | None]:
            options = self._options
            dense = times == 1.0
            variant = (
                source.whole(options) if dense else source.cut(pruning.by_latency(table, times), options)
            )
            candidates = self._build(variant, spec)
            return (variant, candidates), self._judge(source).judge(candidates[0].artifact)

        gate = Gate(self._options.max_drop, self._options.min_agreement)
        trials = walk_down(GRID, pruning.reach(table), attempt, gate)
        if len(trials) == 2 and not trials[1].holds:
            self._clock.progress.warn(
                f"--prune auto cut nothing: at {trials[1].times:g}x the gate does not hold on held-out texts"
            )
        for each in reversed(trials):
            if each.holds and each.built is not None:
                variant, candidates = each.built
                if variant.pruned is not None:
                    pruned = replace(variant.pruned, tried=tried(trials))
                    variant = replace(variant, pruned=pruned)
                yield variant, candidates

    def _build(self, source: Source, spec: TargetSpec) -> list[Candidate]:
        auto = self._judge(source) if self._options.precision == "auto" else None
        limit = source.encoder.max_length
        here = spec.gpu or evidence_of(spec, self._machine) == "measured"
        if auto is not None and not here:
            self._clock.progress.warn(
                f"--precision auto weighs by times of this machine, which is no {spec.id}: "
                "another choice may be faster there"
            )
        return build(
            source.graph, spec, self._options, source.texts, self._clock, source.known, limit, auto, here=here
        )

    def with_speedup(self, source: Source, spec: TargetSpec, best: Candidate) -> Source:
        """With the measured speed-up in the record of the pruning, where the budget was one of time."""
        pruned, pruning = source.pruned, source.pruning
        if pruned is None or pruning is None or not pruned.latency:
            return source
        if evidence_of(spec, self._machine) != "measured":
            return source
        profile = spec.runtime(best.artifact.runtime)
        backend = open_artifact(best.artifact, threads=self._options.threads)
        try:
            return replace(source, pruned=pruning.compare(pruned, profile, backend))
        finally:
            backend.close()

    def _judge(self, source: Source) -> AutoPrecision:
        """What runs artifacts on the held-out texts; one for all targets, which share their measurements.

        Graphs that `--prune auto` goes through are each measured anew.
        """
        if self._options.prune == "auto":
            return self._new_judge(source)
        self._shared = self._shared or self._new_judge(source)
        return self._shared

    def _new_judge(self, source: Source) -> AutoPrecision:
        options, held_out = self._options, source.held_out
        if held_out is None:
            raise InternalError("nothing was held out to judge by")

        def load(artifact: Artifact) -> Backend:
            return open_artifact(artifact, threads=options.threads)

        gate = Gate(options.max_drop, options.min_agreement)
        return AutoPrecision(
            held_out,
            gate,
            LOWERINGS,
            load,
            self._clock,
            source.encoder.max_length,
            options.threads,
            options.seed,
        )
