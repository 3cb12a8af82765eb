"""What a compile would do, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compiler.dry_run import CompilePlan, PlannedBundle
from compiler.estimate import StageEstimate
from compiler.manifest import config_record
from compiler.options import CompileOptions
from compiler.report.details import pass_lines

_FOR = {
    "calibration": "to calibrate on",
    "pruning": "to prune by",
    "held_out": "held out of it, to choose by",
    "evaluation": "to validate on",
}
_ALWAYS = ("precision", "runtime", "max_drop")


def plan_lines(plan: CompilePlan) -> Iterator[str]:
    """The plan, line by line."""
    yield f"{plan.model}: {plan.task}, {plan.source_bytes / 1e6:.1f} MB in FP32"
    yield ""
    for bundle in plan.bundles:
        yield from _bundle_lines(bundle, plan.source_bytes, validated="evaluation" in plan.data)
    yield ""
    yield "data"
    if not plan.data:
        yield "  none: nothing is calibrated, and the accuracy will not be known"
    for kind, each in plan.data.items():
        yield f"  {each['texts']} texts of {each['name']} {_FOR.get(kind, kind)}"
    yield ""
    yield "passes, done already to see what they find"
    yield from (f"  {line}" for line in pass_lines(plan.passes))
    yield ""
    usual = config_record(CompileOptions())
    yield "options; those not named here are at their defaults"
    for key, value in plan.config.items():
        if key in _ALWAYS or value != usual[key]:
            yield f"  {key.replace('_', '-')} = {_shown(value)}"
    yield ""
    yield "still to do, on this machine as busy as it is now"
    width = max((len(each.stage) for each in plan.stages), default=0)
    for each in plan.stages:
        yield f"  {each.stage:<{width}}  {_known(each)}"
    low, high = plan.seconds
    total = f"more than {_duration(low)}" if plan.open_ended else f"{_duration(low)} to {_duration(high)}"
    yield f"  {'together':<{width}}  {total}"
    yield ""
    yield "nothing was written; leave out --dry-run to compile"


def _bundle_lines(bundle: PlannedBundle, source_bytes: int, *, validated: bool) -> Iterator[str]:
    runtimes = " or ".join(bundle.runtimes)
    chosen = ", whichever is faster" if len(bundle.runtimes) > 1 else ""
    evidence = bundle.evidence if validated else "unknown without --eval-data"
    ratio = source_bytes / max(bundle.model_bytes, 1)
    yield f"{bundle.target}: {bundle.precision} on {runtimes}{chosen}; its accuracy will be {evidence}"
    yield f"  {bundle.path}, a model of about {bundle.model_bytes / 1e6:.1f} MB ({ratio:.1f}x smaller)"


def _known(stage: StageEstimate) -> str:
    return f"not known: {stage.reason}" if stage.seconds is None else f"about {_duration(stage.seconds)}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ("x" if isinstance(value[0], int) else ",").join(map(str, value))
    return {True: "true", False: "false"}.get(value, str(value)) if isinstance(value, bool) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds / 60:.1f} min"
