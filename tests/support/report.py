"""Facts for reports: plain and rich, of every kind of target, and with strings that mean harm."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from compiler.report.facts import Facts, LayerNoise, Lengths, Point, Search, Timing, Trial
from compiler.structure import LayerPart, Part, Structure
from compiler.validate import Validation, not_measured
from targets.bundle.parse import parse_manifest
from targets.bundle.schema import FloatProducts, Manifest, PlacementRecord, ProductGroup, TaskConfig
from tests.support.strings import HOSTILE, LANGUAGES, Strings, poisoned

FROZEN: Final = Path(__file__).resolve().parent.parent / "frozen" / "1.3"
CPU: Final = "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"


def plain() -> Facts:
    """A small model for the machine that compiled it, without calibration data's noise or any search."""
    return Facts(
        manifest=_frozen("classification-openvino"),
        validation=_validation(0.9083, 0.9083, (-0.0023, 0.0023), n=872),
        source_bytes=240_000,
        model_bytes=100_024,
        before=_structure(1, heads=4, ffn=64, hidden=32),
        after=_structure(1, heads=4, ffn=64, hidden=32, each=1),
        points=(
            Point(
                "FP32 on openvino", "openvino", "fp32", {"1x16": 0.31, "1x48": 0.42}, 0.9083, 1.0, "reference"
            ),
            Point(
                "int8 on openvino",
                "openvino",
                "int8",
                {"1x16": 0.21, "1x48": 0.26},
                0.9083,
                0.9989,
                "shipped",
            ),
        ),
        timing=_timing(0.26, 0.42, tokens=48),
        seconds={"reading the checkpoint": 0.21, "tracing": 1.2, "packaging": 0.05},
    )


def rich() -> Facts:
    """Everything: several runtimes, both searches, pruned, products left in float, warnings."""
    facts = plain()
    before = _structure(6)
    layers = [
        replace(each, heads=12 - 2 * index, ffn=1536 - 128 * (index + 1), part=_scaled(each.part, 0.2))
        for index, each in enumerate(before.layers)
        if index != 4
    ]
    after = Structure(_scaled(before.embeddings, 0.2501), tuple(layers), _scaled(before.task_head, 0.26))
    integer = {"agreement": 0.9989, "max_abs": 0.0123, "mse": 1e-5}
    return replace(
        facts,
        manifest=_big_manifest(6),
        validation=_validation(0.9083, 0.9048, (-0.0115, 0.0046), n=872, integer=integer),
        source_bytes=before.bytes + 4000,
        model_bytes=after.bytes + 200_000,
        before=before,
        after=after,
        points=_points(),
        searches=(_precision_search(), _pruning_search()),
        timing=_timing(2.71, 8.41, tokens=128),
        noise=_noise(6),
        lengths=_lengths(),
        seconds={
            "reading the checkpoint": 0.41, "tracing": 6.2, "rewriting the graph": 0.9, "calibrating": 31.4,
            "measuring sensitivities": 44.0, "validating": 22.8, "packaging": 0.35,
        },
        warnings=(
            "onnxruntime was left out: it is not installed",
            "12 texts of --eval-data are longer than the model reads, and are cut",
        ),
    )  # fmt: skip


def deep() -> Facts:
    """24 layers, none pruned, every label in another language."""
    facts = rich()
    before = _structure(24, heads=16, ffn=4096, hidden=1024)
    after = _structure(24, heads=16, ffn=4096, hidden=1024, each=1)
    manifest = replace(
        _big_manifest(24),
        name="xlm-roberta-large",
        task="token-classification",
        task_config=TaskConfig(None, LANGUAGES),
    )
    return replace(
        facts, manifest=manifest, before=before, after=after,
        source_bytes=before.bytes, model_bytes=after.bytes - 40, noise=_noise(24),
        searches=(), warnings=(), timing=_timing(61.2, 214.9, tokens=128, threads=4),
    )  # fmt: skip


def pruned_deep() -> Facts:
    """24 layers of which two are gone and the others narrower, everything measured."""
    facts = deep()
    layers = tuple(
        replace(each, heads=16 - each.layer % 9, ffn=4096 - 64 * each.layer, part=_scaled(each.part, 0.8))
        for each in facts.after.layers
        if each.layer not in (20, 21)
    )
    after = replace(facts.after, layers=layers)
    return replace(
        facts,
        after=after,
        model_bytes=after.bytes + 300_000,
        searches=rich().searches,
        warnings=rich().warnings,
    )


def gpu() -> Facts:
    """For a GPU that is not here: an engine built on the device, simulated accuracy, nothing timed."""
    facts = plain()
    return replace(
        facts,
        manifest=_frozen("classification-tensorrt"),
        validation=_validation(0.9083, 0.9037, (-0.0092, 0.0), n=872, evidence="simulated"),
        points=(
            Point("int8 on tensorrt", "tensorrt", "int8", {}, 0.9037, 0.9943, "shipped"),
            Point(
                "fp16 on tensorrt", "tensorrt", "fp16", {}, None, None, "shipped as a fallback, not run here"
            ),
        ),
        timing=None,
        noise=_noise(1),
        lengths=_lengths(),
        warnings=("no engine was built: that takes the GPU",),
    )


def unmeasured() -> Facts:
    """Without any data: nothing calibrated, nothing compared, nothing timed."""
    facts = plain()
    manifest = facts.manifest
    provenance = {**manifest.provenance, "data": {}}
    return replace(
        facts,
        manifest=replace(manifest, provenance=provenance, placement=None),
        validation=not_measured("no evaluation data was given", 0.01),
        points=(),
        timing=None,
        seconds={},
        warnings=("no --eval-data was given: the accuracy of this bundle is not known",),
    )


def emulated() -> Facts:
    """For another CPU, run under QEMU, where the gate fails."""
    facts = rich()
    emulator = {
        "cpu": "cortex-a76",
        "qemu": "9.2.0",
        "runtime": "onnxruntime",
        "version": "1.32.0",
        "selftest": True,
    }
    found = _validation(0.9083, 0.8731, (-0.0521, -0.0183), n=200, evidence="emulated", emulator=emulator)
    found = replace(found, status="failed", simulated=facts.validation)
    return replace(facts, manifest=_frozen("classification-arm"), validation=found, timing=None, searches=())


def hostile() -> Facts:
    """Everything, with harm in every string that anyone outside can choose, and in the others."""
    facts = rich()
    given = Strings()
    manifest = facts.manifest
    kernels = tuple(ProductGroup(given(), each.int8, (given(), given())) for each in HOSTILE_GROUPS)
    place = PlacementRecord(given(), {given(): 3, given(): 4}, kernels, (FloatProducts(given(), (given(),)),))
    manifest = replace(
        manifest,
        name=given(),
        task_config=TaskConfig(None, HOSTILE + LANGUAGES),
        target=replace(manifest.target, id=given()),
        runtime=replace(manifest.runtime, tested_version=given(), options={given(): given()}),
        provenance=poisoned(manifest.provenance, given),
        compression={"quantization": {"scheme": {given(): given(), given(): given()}}},
        placement=place,
    )
    points = tuple(replace(each, label=given(), runtime=given(), outcome=given()) for each in facts.points)
    searches = tuple(
        Search(given(), HOSTILE[-1], tuple(replace(each, label=given()) for each in search.trials))
        for search in facts.searches
    )
    return replace(
        facts,
        manifest=manifest,
        validation=replace(
            facts.validation,
            metric=given(),
            reason=given(),
            metrics={"baseline": {given(): 0.5}, "compiled": {}},
        ),
        points=points,
        searches=searches,
        timing=replace(_timing(2.71, 8.41, tokens=128), cpu=given()),
        noise=tuple(replace(each, role=given()) for each in facts.noise),
        seconds=dict.fromkeys(HOSTILE, 1.0),
        warnings=HOSTILE,
    )


HOSTILE_GROUPS: Final = (ProductGroup("a", True, ()), ProductGroup("b", False, ()))

KINDS: Final[Mapping[str, Callable[[], Facts]]] = {
    "plain": plain,
    "rich": rich,
    "deep": deep,
    "pruned-deep": pruned_deep,
    "gpu": gpu,
    "unmeasured": unmeasured,
    "emulated": emulated,
    "hostile": hostile,
}


def _frozen(name: str) -> Manifest:
    return parse_manifest((FROZEN / f"{name}.bundle" / "bundle.json").read_bytes())


def _big_manifest(layers: int) -> Manifest:
    """Of a frozen bundle, with the places of so many layers, and passes that declined something."""
    manifest = _frozen("classification-openvino")
    kinds = ("query", "key", "value", "attention_output", "ffn_up", "ffn_down")
    linears = tuple(f"layer{layer}.{kind}" for layer in range(layers) for kind in kinds)
    products = (
        ProductGroup("FullyConnected u8", True, tuple(role for role in linears if "output" not in role)),
        ProductGroup("FullyConnected i8", True, tuple(role for role in linears if "output" in role)),
        ProductGroup("Subgraph f32", False, ("layer0.attention",)),
    )
    floats = (
        FloatProducts(
            "chosen by --precision auto: INT8 loses too much here", ("layer2.ffn_down", "layer5.ffn_down")
        ),
        FloatProducts("the outputs of the task head decide the answer", ("head",)),
    )
    provenance = {
        **manifest.provenance,
        "cpu": {"arch": "x86_64", "features": ["avx2", "avx512_vnni", "fma"]},
    }
    passes = [dict(each) for each in provenance["passes"]]
    passes[3]["declined"] = [{"where": "node_gelu_3", "reason": "its input is read by another node as well"}]
    return replace(
        manifest,
        name="minilm-sst2",
        provenance={**provenance, "passes": passes},
        placement=PlacementRecord(
            "2026.4.1", {"FullyConnected u8": 30, "MVN f32": 13, "Eltwise f32": 40}, products, floats
        ),
    )


def _validation(
    baseline: float,
    compiled: float,
    interval: tuple[float, float],
    *,
    n: int,
    evidence: str = "measured",
    **more: Any,
) -> Validation:
    metrics = {
        "baseline": {"accuracy": baseline, "f1_macro": baseline - 0.001, "matthews": 2 * baseline - 1},
        "compiled": {"accuracy": compiled, "f1_macro": compiled - 0.001, "matthews": 2 * compiled - 1},
    }
    return Validation(
        metric="accuracy", baseline=baseline, compiled=compiled, delta=compiled - baseline, ci95=interval,
        agreement=0.9931, n=n, evidence=evidence, status="passed", max_drop=0.01, labelled=True,
        metrics=metrics, **more,
    )  # fmt: skip


def _points() -> tuple[Point, ...]:
    tried = (
        ("FP32", "openvino", (2.1, 8.41), (0.9083, 1.0), "reference"),
        ("int8", "openvino", (0.9, 2.71), (0.9048, 0.9931), "shipped"),
        ("int8", "onnxruntime", (1.1, 2.93), (0.9037, 0.9908), "slower"),
        ("all int8", "openvino", (0.88, 2.66), (0.8942, 0.9782), "failed the gate"),
        ("bf16", "openvino", (1.9, 6.02), (None, None), "slower, so not run"),
        ("int8", "tensorrt", (), (None, None), "left out: not installed"),
    )
    return tuple(
        Point(
            f"{what} on {runtime}",
            runtime,
            what.split()[-1].lower(),
            dict(zip(("1x16", "1x128"), times, strict=False)),
            *found,
            outcome,
        )
        for what, runtime, times, found, outcome in tried
    )


def _precision_search() -> Search:
    deltas = (-0.0176, -0.0121, -0.0082, -0.0041, -0.0039, None)
    trials = tuple(
        Trial(
            f"{index} in float" if index else "all INT8",
            0.21 * index,
            delta,
            None if delta is None else 1 + delta / 2,
            (delta or -1) > -0.005,
        )
        for index, delta in enumerate(deltas)
    )
    axis = "milliseconds that its float products cost, against all INT8"
    return Search("--precision auto", axis, trials)


def _pruning_search() -> Search:
    trials = (
        Trial("1x", 1.0, 0.0, 1.0, True), Trial("1.25x", 1.25, -0.0018, 0.994, True),
        Trial("1.5x", 1.5, -0.0049, 0.989, True), Trial("1.75x", 1.75, -0.0143, 0.976, False),
        Trial("2x", 2.0, -0.0391, 0.942, False),
    )  # fmt: skip
    return Search("--prune auto", "expected speed-up over the dense model", trials)


def _timing(compiled: float, fp32: float, *, tokens: int, threads: int = 0) -> Timing:
    chance = random.Random(7)
    runs, slower = (
        tuple(sorted(middle * (0.97 + chance.expovariate(18)) for _ in range(600)))
        for middle in (compiled, fp32)
    )
    ratio = fp32 / compiled
    return Timing(1, tokens, runs, slower, (ratio, ratio - 0.03, ratio + 0.04), threads, CPU)


def _noise(layers: int) -> tuple[LayerNoise, ...]:
    chance = random.Random(3)
    found = []
    for layer in range(layers):
        for kind, own in (
            ("query+key+value", 38.0),
            ("attention_output", 33.0),
            ("ffn_up", 36.0),
            ("ffn_down", 27.0),
        ):
            alone = own + chance.uniform(-3, 3)
            kept = "float" if kind == "ffn_down" and layer % 3 == 2 else "int8"
            found.append(
                LayerNoise(f"layer{layer}.{kind}", alone, min(alone, 31 - 12 * layer / layers), kept)
            )
    return (LayerNoise("embeddings", None, None, "int8"), *found, LayerNoise("head", 41.0, 19.2, "float"))


def _lengths() -> Lengths:
    edges = tuple(range(0, 129, 8))
    counts = (12, 61, 84, 52, 31, 20, 14, 9, 6, 4, 2, 1, 1, 0, 0, 3)
    return Lengths(edges, counts, 21, 128, 3)


def _structure(
    layers: int, *, heads: int = 12, ffn: int = 1536, hidden: int = 384, each: int = 4
) -> Structure:
    """Of a BERT, `each` bytes a parameter."""
    table, weights = 30522 * hidden, 4 * hidden * hidden + 2 * hidden * ffn
    part = Part(weights, weights * each, (0, 2 * weights, 4 * hidden))
    return Structure(
        Part(table, table * each, (0, 0, 0)),
        tuple(LayerPart(index, heads, hidden // heads, ffn, part) for index in range(layers)),
        Part(hidden * hidden + 2 * hidden, (hidden * hidden) * each, (2 * hidden * hidden, 0, 0)),
    )


def _scaled(part: Part, share: float) -> Part:
    constant, linear, square = (int(each * min(1.0, 4 * share)) for each in part.flops)
    return Part(
        int(part.parameters * min(1.0, 4 * share)), int(part.bytes * share), (constant, linear, square)
    )
