"""What a compile would do: everything that is known before the work, and nothing written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Unpack

from compiler.attempts import Attempts
from compiler.blas import one_thread
from compiler.build import checked_precision, choose_runtimes
from compiler.estimate import StageEstimate, estimate, measure_speeds, work_of
from compiler.manifest import config_record
from compiler.options import CompileOptions, OptionFields
from compiler.passes.manager import PassRecord
from compiler.preparation import Preparation, Prepared
from compiler.progress import Clock, Progress, Silent
from compiler.quantize.plan import QuantPlan
from compiler.quantize.quantizer import quantize_dynamic
from compiler.structure import Structure, structure_of
from targets.errors import UnsupportedError
from targets.spec import Evidence, RuntimeProfile, TargetSpec

LOW: Final = 0.7
HIGH: Final = 1.6
_INTEGERS: Final = ("int8", "int8-dynamic", "int8-weights", "fp8")


@dataclass(frozen=True, slots=True)
class PlannedBundle:
    """One target.

    Attributes:
        target: its id.
        path: where the bundle would be.
        runtimes: that would be built; one of them ships.
        precision: of its products.
        evidence: what a validation here shows: "measured" or "simulated".
        model_bytes: about that of the model's files; before the cut, where a budget of time decides it.
    """

    target: str
    path: str
    runtimes: tuple[str, ...]
    precision: str
    evidence: Evidence
    model_bytes: int


@dataclass(frozen=True, slots=True)
class CompilePlan:
    """What a compile would do.

    Attributes:
        model: the checkpoint's name.
        task: of it.
        source_bytes: of its weights in FP32.
        bundles: one for each target.
        passes: over the traced graph.
        data: name, hash and number of texts of each data set, by what it is for.
        config: the options, resolved, as the manifest would have them.
        stages: what would still be done, and how long it takes.
        warnings: what was found.
    """

    model: str
    task: str
    source_bytes: int
    bundles: tuple[PlannedBundle, ...]
    passes: tuple[PassRecord, ...]
    data: Mapping[str, Any]
    config: Mapping[str, Any]
    stages: tuple[StageEstimate, ...]
    warnings: tuple[str, ...]

    @property
    def seconds(self) -> tuple[float, float]:
        """The least and the most that the stages with an estimate may take together."""
        known = sum(each.seconds for each in self.stages if each.seconds is not None)
        return LOW * known, HIGH * known

    @property
    def open_ended(self) -> bool:
        """Whether there are stages whose time nobody knows before."""
        return any(each.seconds is None for each in self.stages)

    def to_json(self) -> dict[str, Any]:
        """What `bertc compile --dry-run --json` prints."""
        low, high = self.seconds
        return {
            "model": self.model,
            "task": self.task,
            "source_bytes": self.source_bytes,
            "bundles": [{**asdict(each), "runtimes": list(each.runtimes)} for each in self.bundles],
            "passes": [each.to_json() for each in self.passes],
            "data": dict(self.data),
            "config": dict(self.config),
            "stages": [
                {**asdict(each), "seconds": None if each.seconds is None else round(each.seconds, 1)}
                for each in self.stages
            ],
            "seconds": {"low": round(low, 1), "high": None if self.open_ended else round(high, 1)},
            "warnings": list(self.warnings),
        }


def plan_compile(
    model: str | Path,
    output: str | Path = ".",
    *,
    target: str | Sequence[str] = "native",
    progress: Progress | None = None,
    **options: Unpack[OptionFields],
) -> CompilePlan:
    """What `compile_model` would do with the same arguments.

    The checkpoint and the data are read, so that what they have against a compile is found; some of the texts
    are run in FP32 to know how fast this machine is. Nothing is written.

    Raises:
        BertcError: as `compiler.compile.compile_model`, but for what only the work itself shows.
    """
    targets = (target,) if isinstance(target, str) else tuple(target)
    chosen = CompileOptions(targets=targets, **options)
    chosen.check()
    clock = Clock(progress or Silent())
    searches = Attempts(chosen, clock).searches
    quiet = replace(chosen, dump_ir=None)
    with one_thread(clock.progress.warn):
        found = Preparation(str(model), Path(output), quiet, clock, searches=searches).run()
        with clock.stage("looking at the texts"):
            work = work_of(found)
        with clock.stage("measuring this machine"):
            speeds = measure_speeds(found.graph, work, threads=chosen.threads)
    profiles = [choose_runtimes(spec, chosen) for spec in found.specs]
    dense = structure_of(found.graph)
    bundles = tuple(
        _bundle(found, chosen, spec, path, runtimes, dense)
        for spec, path, runtimes in zip(found.specs, found.paths, profiles, strict=True)
    )
    return CompilePlan(
        model=found.checkpoint.name,
        task=found.checkpoint.task,
        source_bytes=dense.bytes,
        bundles=bundles,
        passes=tuple(found.passes),
        data=found.data.record,
        config=config_record(chosen),
        stages=tuple(estimate(found, work, speeds, chosen, [each.runtimes for each in bundles])),
        warnings=tuple(clock.progress.warnings),
    )


def _bundle(
    found: Prepared,
    options: CompileOptions,
    spec: TargetSpec,
    path: Path,
    profiles: Sequence[RuntimeProfile],
    dense: Structure,
) -> PlannedBundle:
    both = [(each, _precision(spec, each, options)) for each in profiles]
    usable = [(each, precision) for each, precision in both if precision is not None]
    if found.evidence[spec.id] != "measured" and not spec.gpu:
        usable = usable[:1]
    profile, precision = usable[0]
    plan = quantize_dynamic(found.graph, profile.scheme) if precision in _INTEGERS else QuantPlan()
    stored = structure_of(found.graph, plan, precision)
    share = 1.0 if options.prune_flops is None else options.prune_flops
    size = stored.bytes - round((1.0 - share) * stored.encoder_bytes)
    return PlannedBundle(
        target=spec.id,
        path=str(path),
        runtimes=tuple(each.name for each, _ in usable),
        precision=precision,
        evidence=found.evidence[spec.id],
        model_bytes=min(size, dense.bytes),
    )


def _precision(spec: TargetSpec, profile: RuntimeProfile, options: CompileOptions) -> str | None:
    try:
        return checked_precision(spec, profile, options)
    except UnsupportedError:
        return None
