"""`--prune-speedup` and `--prune auto` from the command line to the bundle."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import compiler.measuring as measuring
import compiler.pruning as stage
from compiler.prune.latency import Latency, estimate
from compiler.replay.compile import compile_from_manifest
from compiler.validate import Validation
from targets import Bundle
from targets.errors import UsageError
from tests.support.compiling import RUNTIMES, Recorder, bertc, build
from tests.support.data import classification_rows, write_rows

COMMON: dict[str, Any] = {
    "prune_align": 8,
    "prune_samples": 24,
    "calibration_samples": 16,
    "prune_shape": (1, 16),
    "threads": 1,
}


FP32: dict[str, Any] = {"precision": "fp32", "runtime": "onnxruntime"}


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("texts") / "texts.jsonl", classification_rows(240))


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """Times that follow from sizes: those of so small a model are nothing but overhead."""
    asked: list[dict[str, Any]] = []

    def measured(model: Any, load: Any, feeds: Any, *, precision: str, **rest: Any) -> Latency:
        with_backend = load(model)
        with_backend.close()
        asked.append({"precision": precision, "shape": feeds["input_ids"].shape, **rest})
        table = estimate(
            model,
            runtime=with_backend.name,
            precision=precision,
            shape=feeds["input_ids"].shape,
            weight_bytes=1,
        )
        return Latency("measured", table.runtime, precision, table.shape, table.fixed, table.curves)

    monkeypatch.setattr(stage, "measure", measured)
    monkeypatch.setattr(stage, "_TURNS", 5)
    monkeypatch.setenv("BERTC_CACHE_DIR", str(tmp_path / "cache"))
    return asked


def pruning_of(path: Path) -> Any:
    return Bundle.open(path).manifest.compression["pruning"]


def same_again(bundle: Path, model: Path, texts: Path, out: Path, **options: Any) -> None:
    """Compiled from its manifest, with nothing timed and nothing tried."""
    progress = Recorder()
    given = {"calibration_data": texts, "eval_data": texts, "report": False, **options}
    done = compile_from_manifest(bundle, out, model=model, progress=progress, **given)
    (again,) = done.bundles
    assert again.reproduces is True
    assert not [stage for stage in progress.started if stage.startswith(("timing", "held-out"))]
    first, second = (Bundle.open(each).manifest for each in (bundle, again.path))
    assert first.provenance == second.provenance
    assert first.compression == second.compression


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_speed_up(onnx_model: Path, texts: Path, out: Path, runtime: Any, precision: Any) -> None:
    options = {"precision": precision, "runtime": runtime, "calibration_data": texts, "eval_data": texts}
    built = build(onnx_model, out, **options, **COMMON, prune_speedup=1.5)
    pruning = pruning_of(built.path)
    latency = pruning["latency"]
    assert latency["expected_speedup"] >= 1.5
    assert (latency["source"], latency["runtime"], latency["precision"]) == ("measured", runtime, precision)
    assert latency["shape"] == [1, 16]
    value, low, high = latency["measured_speedup"]
    assert 0 < low <= value <= high
    assert 0 < pruning["flops_kept"] < 1
    assert "timing against the dense model" in built.progress.finished
    assert bertc("selftest", built.path).code == 0
    if precision == "int8":
        same_again(built.path, onnx_model, texts, out / "again")


def test_a_table_is_measured_once(
    onnx_model: Path, texts: Path, out: Path, steady: list[dict[str, Any]]
) -> None:
    options = {"precision": "fp32", "runtime": "onnxruntime", "calibration_data": texts}
    one = build(onnx_model, out / "one", **options, **COMMON, prune_speedup=1.5)
    two = build(onnx_model, out / "two", **options, **COMMON, prune_speedup=1.5)
    assert len(steady) == 1
    assert one.result.content_digest == two.result.content_digest


def test_the_faster_runtime_is_measured(
    onnx_model: Path, texts: Path, out: Path, steady: list[dict[str, Any]]
) -> None:
    built = build(onnx_model, out, precision="fp32", calibration_data=texts, **COMMON, prune_speedup=1.3)
    assert "timing the dense model" in built.progress.finished
    assert len(steady) == 1
    assert pruning_of(built.path)["latency"]["runtime"] in RUNTIMES


def test_a_gpu_is_estimated_and_says_so(onnx_model: Path, texts: Path, out: Path) -> None:
    built = build(
        onnx_model,
        out,
        target="jetson-orin",
        precision="fp16",
        calibration_data=texts,
        **COMMON,
        prune_speedup=1.3,
    )
    latency = pruning_of(built.path)["latency"]
    assert latency["source"] == "estimated"
    assert "measured_speedup" not in latency
    assert any("estimated from FLOPs and bytes" in each for each in built.progress.warnings)


def test_the_table_of_a_profile_is_taken_where_it_fits(
    onnx_model: Path, texts: Path, out: Path, tmp_path: Path, steady: list[dict[str, Any]]
) -> None:
    options = {**FP32, **COMMON, "calibration_data": texts, "prune_speedup": 1.3}
    found = pruning_of(build(onnx_model, out / "native", **options).path)["latency"]
    keys = ("runtime", "precision", "shape", "fixed_ms")
    lines = [f"{key} = {json.dumps(found[key])}" for key in keys]
    rows = [f"{json.dumps(kind)} = {json.dumps(pairs)}" for kind, pairs in found["modules"].items()]
    profile = (files("targets") / "profiles" / "x86-64-vnni.toml").read_text(encoding="utf-8")
    own = tmp_path / "device.toml"
    own.write_text("\n".join([profile, "[[latency]]", *lines, "[latency.modules]", *rows]))
    table = pruning_of(build(onnx_model, out / "own", target=str(own), **options).path)["latency"]
    assert (table["source"], table["modules"]) == ("profile", found["modules"])
    assert len(steady) == 1
    own.write_text(own.read_text().replace("[1, 16]", "[4, 16]"))
    other = pruning_of(build(onnx_model, out / "other", target=str(own), **options).path)["latency"]
    assert other["source"] == "measured"


def test_a_speed_up_out_of_reach_says_what_can_be_had(onnx_model: Path, texts: Path, out: Path) -> None:
    options = {**COMMON, "prune_targets": ("ffn",), "precision": "fp32", "runtime": "onnxruntime"}
    with pytest.raises(
        UsageError, match=r"of 50 is out of reach: with the least of every module it is \d"
    ) as caught:
        build(onnx_model, out, calibration_data=texts, **options, prune_speedup=50.0)
    assert "measured, onnxruntime at 1x16" in caught.value.message


@pytest.mark.parametrize("precision", ["int8", "fp32", "auto"])
def test_auto_keeps_the_fastest_that_holds(onnx_model: Path, texts: Path, out: Path, precision: Any) -> None:
    options = {
        "precision": precision,
        "runtime": "onnxruntime",
        "calibration_data": texts,
        "eval_data": texts,
    }
    built = build(onnx_model, out, **options, **COMMON, prune="auto", max_drop=0.5)
    pruning = pruning_of(built.path)
    tried = pruning["tried"]
    assert tried[0]["expected_speedup"] == 1.0
    assert all(each["holds"] for each in tried[:-1])
    fastest = max(each["expected_speedup"] for each in tried if each["holds"])
    assert pruning["latency"]["expected_speedup"] >= fastest > 1
    provenance: Any = Bundle.open(built.path).manifest.provenance
    assert provenance["data"]["held_out"]["texts"] > 64
    if precision != "int8":
        same_again(built.path, onnx_model, texts, out / "again")


def test_auto_ships_the_dense_model_where_nothing_holds(onnx_model: Path, texts: Path, out: Path) -> None:
    options = {**FP32, "calibration_data": texts}
    built = build(onnx_model, out, **options, **COMMON, prune="auto", max_drop=0.0, min_agreement=1.0)
    plain = build(onnx_model, out / "plain", **options)
    assert any("--prune auto cut nothing: at 1.1x" in each for each in built.progress.warnings)
    assert built.result.content_digest == plain.result.content_digest
    assert "pruning" not in Bundle.open(built.path).manifest.compression
    same_again(built.path, onnx_model, texts, out / "again", eval_data=None)


def test_auto_steps_back_where_the_evaluation_refuses(
    onnx_model: Path, texts: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, seen = measuring.Measuring._measure, []

    def refuse_first(self: Any, *args: Any) -> Validation:
        found: Validation = measure(self, *args)
        seen.append(found)
        return replace(found, status="failed") if len(seen) == 1 else found

    monkeypatch.setattr(measuring.Measuring, "_measure", refuse_first)
    data = {"calibration_data": texts, "eval_data": texts}
    built = build(onnx_model, out, **FP32, **data, **COMMON, prune="auto", max_drop=0.5)
    pruning = pruning_of(built.path)
    fastest = max(each["expected_speedup"] for each in pruning["tried"] if each["holds"])
    assert 1 < pruning["latency"]["expected_speedup"] < fastest
    assert len(seen) == 2


def test_the_summary_says_how_fast_and_what_was_tried(onnx_model: Path, texts: Path, out: Path) -> None:
    argv = ["--precision", "fp32", "--runtime", "onnxruntime", "--calibration-data", texts, "-o", out]
    argv += ["--prune", "auto", "--prune-align", "8", "--prune-samples", "24", "--prune-shape", "2x16"]
    ran = bertc("compile", onnx_model, *argv, "--max-drop", "0.9")
    assert ran.code == 0, ran.err
    summary = " ".join(ran.out.replace("│", " ").split())
    assert "against dense fp32 on onnxruntime at 2x16" in summary
    assert "expected by measured times" in summary
    assert "1x holds (+0.0000), 1.1x holds" in summary


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (("--prune-speedup", "1"), ("--prune-speedup 1 is no speed-up",)),
        (("--prune-speedup", "2", "--prune-flops", "0.5"), ("--prune-flops and --prune-speedup",)),
        (("--prune", "auto", "--prune-speedup", "2"), ("--prune-speedup and --prune",)),
        (("--prune", "most"), ("'most' is not 'auto'",)),
        (("--prune-speedup", "2", "--prune-shape", "0x8"), ("--prune-shape 0x8",)),
        (("--prune-speedup", "2", "--prune-shape", "big"), ("'big' is not BATCHxTOKENS",)),
    ],
)
def test_what_cannot_be_meant(
    onnx_model: Path, texts: Path, out: Path, argv: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    bertc("compile", onnx_model, "-o", out, "--calibration-data", texts, *argv).fails(2, *parts)
