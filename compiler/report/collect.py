"""From what a compile has made and measured to the facts of its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from compiler.outcome import Chosen, Outcome
from compiler.quantize.mixed import Choice, Tried
from compiler.quantize.quantizer import Quantized
from compiler.report.facts import Facts, LayerNoise, Lengths, Point, Search, Timing, Trial
from compiler.structure import Structure
from compiler.texts import TextFeeds
from compiler.validate import Validation
from targets.bundle.schema import Manifest

_BINS: Final = 24
_FLOAT_COST: Final = "milliseconds that its float products cost, against all INT8"


def collect(
    chosen: Chosen,
    *,
    manifest: Manifest,
    validation: Validation,
    model_bytes: int,
    structures: tuple[Structure, Structure],
    timing: Timing | None,
    medians: Mapping[str, float],
    seconds: Mapping[str, float],
    warnings: Sequence[str],
) -> Facts:
    """The facts of one bundle.

    Args:
        chosen: what ships, and what else was built.
        manifest: of the bundle, but for its files.
        validation: its record, of an emulated device where there was one.
        model_bytes: of the model's files.
        structures: of the checkpoint in FP32, and of what ships as it is stored.
        timing: against FP32; None where this machine is not the target.
        medians: milliseconds by runtime, of the shape of `timing`.
        seconds: by stage.
        warnings: of the compile.
    """
    best, source = chosen.best, chosen.source
    return Facts(
        manifest=manifest,
        validation=validation,
        source_bytes=source.source_bytes,
        model_bytes=model_bytes,
        before=structures[0],
        after=structures[1],
        points=tuple(_points(chosen, validation, timing, medians)),
        searches=tuple(_searches(best.choice, {} if source.pruned is None else source.pruned.to_json())),
        timing=timing,
        noise=tuple(_noise(best.quantized)),
        lengths=None if source.texts is None else _lengths(source.texts),
        seconds=dict(seconds),
        warnings=tuple(warnings),
    )


def _points(
    chosen: Chosen, validation: Validation, timing: Timing | None, medians: Mapping[str, float]
) -> Iterator[Point]:
    shape = "" if timing is None else f"{timing.batch}x{timing.tokens}"
    runtime = chosen.best.artifact.runtime
    if timing is not None:
        p50 = {shape: float(np.median(timing.fp32_runs_ms))}
        alike = None if validation.baseline is None else 1.0
        yield Point(f"FP32 on {runtime}", runtime, "fp32", p50, validation.baseline, alike, "the checkpoint")
    for each in chosen.outcomes:
        own = each.candidate.artifact
        first = each is chosen.outcomes[0]
        found = validation if first else each.validation
        yield Point(
            label=f"{own.precision} on {own.runtime}",
            runtime=own.runtime,
            precision=own.precision,
            p50_ms={shape: medians[own.runtime]} if own.runtime in medians else dict(each.candidate.p50_ms),
            value=None if found is None else found.compiled,
            agreement=None if found is None else found.agreement,
            outcome="shipped" if first else _outcome(each),
        )


def _outcome(each: Outcome) -> str:
    if each.note:
        return each.note
    if each.validation is None:
        return "slower; its accuracy was not measured"
    return "failed the gate" if each.validation.status == "failed" else "slower"


def _searches(choice: Choice | None, pruning: Mapping[str, Any]) -> Iterator[Search]:
    if choice is not None and choice.tried:
        trials = tuple(map(_float_trial, choice.tried))
        yield Search("--precision auto", _FLOAT_COST, trials)
    if pruning.get("tried"):
        trials = tuple(map(_pruned_trial, pruning["tried"]))
        yield Search("--prune auto", "expected speed-up over the dense model", trials)


def _float_trial(tried: Tried) -> Trial:
    found, count = tried.validation, len(tried.floats)
    return Trial(
        label="all INT8" if not count else f"{count} in float",
        cost=sum(each.saved_ms for each in tried.floats),
        delta=None if found is None else found.delta,
        agreement=None if found is None else found.agreement,
        holds=tried.holds,
    )


def _pruned_trial(tried: Mapping[str, Any]) -> Trial:
    times = tried["expected_speedup"]
    label = "dense" if times == 1.0 else f"{times:g}x"
    return Trial(label, times, tried["delta"], tried["agreement"], tried["holds"])


def _noise(quantized: Quantized) -> Iterator[LayerNoise]:
    computes = {each.role: each.decision.compute for each in quantized.plan.linears.values()}
    for role, each in quantized.noise.items():
        yield LayerNoise(role, each.own, each.total, computes.get(role, "float"))


def _lengths(texts: TextFeeds) -> Lengths:
    """Bins of whole tokens, equally wide."""
    tokens = np.concatenate([np.asarray(feeds["attention_mask"]).sum(axis=1) for feeds in texts.feeds])
    low, high = int(tokens.min()), int(tokens.max())
    width = max(1, -(-(high - low + 1) // _BINS))
    edges = np.arange(low, high + width + 1, width)
    counts, _ = np.histogram(tokens, edges)
    median = int(np.median(tokens))
    return Lengths(tuple(edges.tolist()), tuple(counts.tolist()), median, high, texts.truncated)
