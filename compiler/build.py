"""One target's artifacts: quantized, lowered, timed against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np
import onnx_ir as ir

from calibration.cache import ArrayCache
from compiler.auto_precision import ChoosesFloat
from compiler.latency import fitting_shapes, full_feeds, interleave, median_ms
from compiler.lower import onnxruntime as onnxruntime_lowering
from compiler.lower import openvino as openvino_lowering
from compiler.lower.artifact import Artifact
from compiler.lower.tensorrt.lowering import check_precision
from compiler.lower.tensorrt.lowering import lower as lower_tensorrt
from compiler.lower.tensorrt.simulation import SimulatedBackend
from compiler.options import CompileOptions
from compiler.progress import Clock
from compiler.quantize.float8 import quantize_float8
from compiler.quantize.mixed import Choice
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.plan import QuantPlan
from compiler.quantize.quantizer import (
    Quantized,
    adapt,
    passes_over,
    quantize_dynamic,
    quantize_static,
    quantize_tables,
    quantize_weights,
)
from compiler.report.details import latency_line, placement_line, range_line
from compiler.texts import TextFeeds
from targets.bundle.device import is_installed
from targets.errors import AccuracyGateError, MissingBackendError, UnsupportedError
from targets.runtime.backends import open_backend
from targets.runtime.backends.base import Backend
from targets.spec import GPU_RUNTIMES, Precision, QuantScheme, RuntimeProfile, TargetSpec

LOWERINGS: Final = {"onnxruntime": onnxruntime_lowering.lower, "openvino": openvino_lowering.lower}
TIMED_SHAPES: Final = ((1, 128), (8, 128))
Known = dict[tuple[Precision, QuantScheme, bool], Quantized]
"""Quantized graphs by precision and scheme, and by whether they were quantized in sequence."""
_BUILT_ON_DEVICE: Final = "tensorrt"
_GPU_ONLY: Final = ("int8-weights", "fp8")
_SECONDS: Final = 3.0
_TURNS: Final = 15
_LEAST_VOCABULARY: Final = 6
_CLEARLY: Final = 0.95


@dataclass(frozen=True, slots=True)
class Candidate:
    """One runtime's artifact for a target.

    Attributes:
        artifact: its files.
        quantized: the graph and plan that it was lowered from.
        choice: what stays in float, where `--precision auto` searched for it.
        p50_ms: median latency by "batch x length", empty when nothing was compared.
    """

    artifact: Artifact
    quantized: Quantized
    choice: Choice | None = None
    p50_ms: Mapping[str, float] = field(default_factory=dict)


def choose_runtimes(target: TargetSpec, options: CompileOptions) -> tuple[RuntimeProfile, ...]:
    """The runtimes to build for, in the target's order.

    Raises:
        UsageError: the target does not have the runtime asked for.
        MissingBackendError: none of them is installed.
    """
    asked = target.runtimes if options.runtime == "auto" else (target.runtime(options.runtime),)
    found = tuple(each for each in asked if _is_there(each.name))
    if not found:
        names = " and ".join(each.name for each in asked)
        extra = "tensorrt-rtx" if asked[0].name in GPU_RUNTIMES else "compile"
        raise MissingBackendError(f"{names} is not installed", f'run: pip install "bertc[{extra}]"')
    return found


def _is_there(runtime: str) -> bool:
    return runtime == _BUILT_ON_DEVICE or is_installed(runtime)


def precision_for(profile: RuntimeProfile, options: CompileOptions) -> Precision:
    """What a runtime's products are computed in: INT8 is the target's own 8-bit form.

    Raises:
        UnsupportedError: a precision of GPUs on a CPU, or `auto` where nothing can be timed.
    """
    on_gpu = profile.name in GPU_RUNTIMES
    if options.built in _GPU_ONLY and not on_gpu:
        raise UnsupportedError(
            f"{profile.name} has no {options.built} products on CPUs",
            "use --precision int8, or a GPU's --target",
        )
    if options.precision == "auto" and on_gpu:
        raise UnsupportedError(
            "--precision auto weighs accuracy against measured time, and there is no GPU to measure on",
            "use --precision int8, fp8, int8-weights or fp16; `bertc build` picks the faster on the device",
        )
    return profile.scheme.form if options.built == "int8" else options.built


def check_profiles(target: TargetSpec, options: CompileOptions) -> None:
    """Refuse, before the work, a target of which no runtime has the precision.

    Raises:
        UsageError, MissingBackendError: as `choose_runtimes`.
        UnsupportedError: why the first of its runtimes does not have it.
    """
    refused = []
    profiles = choose_runtimes(target, options)
    for profile in profiles:
        try:
            checked_precision(target, profile, options)
        except UnsupportedError as refusal:
            refused.append(refusal)
    if len(refused) == len(profiles):
        raise refused[0]


def checked_precision(target: TargetSpec, profile: RuntimeProfile, options: CompileOptions) -> Precision:
    """What a runtime's products are computed in on a target.

    Raises:
        UnsupportedError: the runtime or the device does not have it.
    """
    precision = precision_for(profile, options)
    check_precision(precision, target, profile)
    if profile.name == "openvino":
        openvino_lowering.check_device_precision(profile.device, precision)
        openvino_lowering.check_arch_precision(target.arch, precision)
    return precision


def build(
    model: ir.Model,
    target: TargetSpec,
    options: CompileOptions,
    texts: TextFeeds | None,
    clock: Clock,
    known: Known,
    max_length: int,
    auto: ChoosesFloat | None = None,
    *,
    here: bool = True,
) -> list[Candidate]:
    """Every artifact for a target, the fastest first.

    Args:
        model: the float IR; it is not changed.
        target: whose schemes are followed.
        options: precision, runtime, seeds.
        texts: calibration feeds; needed for static INT8 only.
        clock: told of each stage.
        known: quantized graphs, shared between targets and added to here.
        max_length: tokens that the model reads; nothing longer is timed.
        auto: chooses what stays in float; None where the precision says so.
        here: whether this machine is the target, so that its runtimes can be timed; elsewhere the first in
            the target's order that takes the model is the only one.

    Raises:
        AccuracyGateError: `auto` cannot hold its gate on any runtime.
        UnsupportedError: no runtime of the target has the precision, or an INT8 product would run in float.
        MissingBackendError: no runtime of the target is installed.
    """
    profiles = choose_runtimes(target, options)
    candidates: list[Candidate] = []
    refused: list[UnsupportedError | AccuracyGateError] = []
    for profile in _richest_first(profiles) if here else profiles:
        if candidates and not here:
            break
        try:
            precision = checked_precision(target, profile, options)
            quantized = _quantized(model, precision, profile.scheme, options, texts, clock, known)
            with clock.stage(f"lowering to {profile.name}"):
                artifact = _lower(quantized, precision, target, profile, max_length)
            clock.progress.detail(placement_line(artifact))
        except UnsupportedError as refusal:
            refused.append(refusal)
            continue
        try:
            apart = partial(
                _quantized, model, precision, profile.scheme, options, texts, clock, known, sequential=False
            )
            candidates.append(_candidate(artifact, quantized, auto, apart))
        except AccuracyGateError as refusal:
            refused.append(refusal)
    if not candidates:
        raise refused[0]
    for each in refused:
        clock.progress.warn(f"{each.message}: that runtime was left out")
    return candidates if len(candidates) == 1 else _timed(candidates, options, clock, max_length)


def _lower(
    quantized: Quantized,
    precision: Precision,
    target: TargetSpec,
    profile: RuntimeProfile,
    max_length: int,
) -> Artifact:
    if profile.name in GPU_RUNTIMES:
        return lower_tensorrt(
            quantized.model,
            quantized.plan,
            precision,
            target=target,
            profile=profile,
            max_length=max_length,
        )
    return LOWERINGS[profile.name](quantized.model, quantized.plan, precision)


def _candidate(
    artifact: Artifact, quantized: Quantized, auto: ChoosesFloat | None, apart: Callable[[], Quantized]
) -> Candidate:
    if auto is None:
        return Candidate(artifact, quantized)
    mixed = auto.choose(quantized, artifact, apart)
    return Candidate(mixed.artifact, mixed.quantized, mixed.choice)


def _richest_first(profiles: Sequence[RuntimeProfile]) -> list[RuntimeProfile]:
    """Schemes with INT8 attention products first: the others' plans can be cut out of theirs."""
    return sorted(profiles, key=lambda each: each.scheme.attention_products == "float")


def _quantized(
    model: ir.Model,
    precision: Precision,
    scheme: QuantScheme,
    options: CompileOptions,
    texts: TextFeeds | None,
    clock: Clock,
    known: Known,
    *,
    sequential: bool = True,
) -> Quantized:
    if precision == "int8-dynamic":
        return Quantized(model, quantize_dynamic(model, scheme))
    if precision == "int8-weights":
        return Quantized(model, quantize_weights(model, scheme))
    if precision not in ("int8", "fp8") or texts is None:
        return Quantized(model, QuantPlan())
    for (kind, other, mode), found in known.items():
        if mode != sequential or kind != precision:
            continue
        if other == scheme:
            return found
        if _same_linears(other, scheme) and scheme.attention_products == "float":
            return replace(found, plan=adapt(found.plan, scheme))
    if precision == "fp8":
        with clock.stage("calibrating FP8", len(texts.feeds)) as advance:
            tables = quantize_tables(model)
            plan = quantize_float8(model, texts.feeds, tables, threads=options.threads, cache=ArrayCache())
            advance(len(texts.feeds))
        known[precision, scheme, sequential] = Quantized(model, plan)
        return known[precision, scheme, sequential]
    settings = QuantizeOptions(
        ranges=options.ranges, smooth=options.smooth, sequential=sequential, threads=options.threads
    )
    stage = "calibrating" if sequential else "calibrating each layer by itself"
    with clock.stage(stage, passes_over(texts.feeds)) as advance:
        found = quantize_static(model, texts.feeds, scheme, settings, advance=advance, cache=ArrayCache())
    clock.progress.detail(range_line(found.plan))
    known[precision, scheme, sequential] = found
    return found


def _same_linears(one: QuantScheme, other: QuantScheme) -> bool:
    return (one.activation, one.asymmetric, one.weight_qmax) == (
        other.activation,
        other.asymmetric,
        other.weight_qmax,
    )


def open_artifact(artifact: Artifact, *, threads: int = 0) -> Backend:
    """Load an artifact in its runtime, as a device would; one for a GPU is simulated."""
    if artifact.engine is not None:
        return SimulatedBackend(artifact.files[artifact.engine.variants[0].onnx], threads=threads)
    main = artifact.files[artifact.main]
    weights = next((data for path, data in artifact.files.items() if path != artifact.main), None)
    return open_backend(artifact.runtime, main, weights, threads=threads, options=artifact.options)


def open_variants(artifact: Artifact, *, threads: int = 0) -> list[Backend]:
    """The other forms of an artifact for a GPU, simulated."""
    variants = () if artifact.engine is None else artifact.engine.variants[1:]
    return [SimulatedBackend(artifact.files[each.onnx], threads=threads) for each in variants]


def _timed(
    candidates: list[Candidate], options: CompileOptions, clock: Clock, max_length: int
) -> list[Candidate]:
    """The candidates with their medians, interleaved, the least geometric mean first."""
    shapes = fitting_shapes(max_length, TIMED_SHAPES)
    medians: list[dict[str, float]] = [{} for _ in candidates]
    with clock.stage("timing the runtimes") as steps:
        backends = {
            str(place): open_artifact(each.artifact, threads=options.threads)
            for place, each in enumerate(candidates)
        }
        for batch, tokens in shapes:
            steps.expect(_TURNS, last=(batch, tokens) == shapes[-1])
            feeds = full_feeds(_LEAST_VOCABULARY, batch, tokens)
            times = interleave(
                backends, feeds, turns=_TURNS, seconds=_SECONDS, seed=options.seed, advance=steps
            )
            for place, found in enumerate(medians):
                found[f"{batch}x{tokens}"] = round(median_ms(times[str(place)]), 3)
    for backend in backends.values():
        backend.close()
    for each, found in zip(candidates, medians, strict=True):
        clock.progress.detail(latency_line(each.artifact.runtime, found))
    timed = [replace(each, p50_ms=found) for each, found in zip(candidates, medians, strict=True)]
    return _fastest_first(timed)


def _fastest_first(timed: list[Candidate]) -> list[Candidate]:
    """By geometric mean; one that is less than 5% faster does not overtake those before it."""

    def mean(each: Candidate) -> float:
        return float(np.exp(np.mean(np.log(list(each.p50_ms.values())))))

    ordered: list[Candidate] = []
    for each in timed:
        slower = (place for place, other in enumerate(ordered) if mean(each) < _CLEARLY * mean(other))
        ordered.insert(next(slower, len(ordered)), each)
    return ordered
