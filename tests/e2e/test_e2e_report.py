"""The report of a real compile: what metrics.json holds, the page, and what a notebook shows."""

from __future__ import annotations

import json
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from compiler import Report, compile_model
from compiler.result import CompileResult
from targets.bundle.reader import Bundle
from targets.errors import UsageError
from tests.support.compiling import Built, Recorder, build, everything

OPTIONS: dict[str, Any] = {"ranges": "minmax", "max_drop": 1.0}


@pytest.fixture(scope="module")
def compiled(onnx_model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> CompileResult:
    """Both runtimes, with pruning and a report."""
    return compile_model(
        onnx_model,
        tmp_path_factory.mktemp("reported"),
        progress=Recorder(),
        calibration_data=data,
        eval_data=data,
        prune_flops=0.7,
        prune_align=8,
        prune_samples=24,
        **OPTIONS,
    )


@pytest.fixture(scope="module")
def metrics(compiled: CompileResult) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Bundle.open(compiled.bundles[0].path).read("report/metrics.json"))
    return found


def test_everything_that_was_tried_was_timed_and_validated(
    compiled: CompileResult, metrics: dict[str, Any]
) -> None:
    (result,) = compiled.bundles
    first, shipped, other = metrics["tried"]
    assert (first["precision"], first["value"]) == ("fp32", round(result.validation.baseline or -1, 6))
    assert (shipped["outcome"], shipped["runtime"]) == ("shipped", result.runtime)
    assert other["outcome"] == "slower"
    assert {shipped["runtime"], other["runtime"]} == {"onnxruntime", "openvino"}
    for each in metrics["tried"]:
        (milliseconds,) = each["p50_ms"].values()
        assert milliseconds > 0
        assert 0 <= each["value"] <= 1


def test_the_latency_is_that_of_its_runs(metrics: dict[str, Any]) -> None:
    latency = metrics["latency"]
    runs = latency["runs_ms"]
    assert runs == sorted(runs)
    assert len(runs) == len(latency["fp32_runs_ms"]) >= 15
    assert runs[0] <= latency["p50_ms"] <= latency["p95_ms"] <= latency["p99_ms"] <= runs[-1]
    value, low, high = latency["speedup"]
    assert 0 < low <= value <= high


def test_noise_of_every_site(metrics: dict[str, Any]) -> None:
    roles = [each["role"] for each in metrics["noise"]]
    assert roles[0] == "layer0.query"
    assert len(roles) == len(set(roles))
    # Of the only layer just [CLS] asks, which is the same in every text: a bias takes all of its noise.
    constant, *others = metrics["noise"]
    assert (constant["own_db"], constant["total_db"]) == (None, None)
    for each in others:
        assert each["computes"] == "int8"
        assert 10 < each["total_db"] <= 100
        assert 10 < each["own_db"] <= 100


def test_lengths_are_those_of_the_calibration_texts(metrics: dict[str, Any]) -> None:
    lengths = metrics["lengths"]
    assert sum(lengths["counts"]) == 24
    assert len(lengths["edges"]) == len(lengths["counts"]) + 1
    assert lengths["edges"][0] <= lengths["median"] <= lengths["longest"] < lengths["edges"][-1]


def test_structure_beside_the_checkpoint(compiled: CompileResult) -> None:
    (result,) = compiled.bundles
    compression = Bundle.open(result.path).manifest.compression
    before, after = (compression["structure"][key] for key in ("checkpoint", "bundle"))
    kept = {each["name"]: each["kept"] for each in compression["pruning"]["modules"]}
    for layer in after["layers"]:
        assert layer["heads"] == kept[f"layer{layer['layer']}.heads"]
        assert layer["ffn"] == kept[f"layer{layer['layer']}.ffn"]
    widths = [sum(each["ffn"] + each["heads"] for each in part["layers"]) for part in (after, before)]
    assert widths[0] < widths[1]
    stored = sum(part["bytes"] for part in (after["embeddings"], after["task_head"], *after["layers"]))
    assert 0 < stored < result.model_bytes < result.source_bytes


def test_the_report_in_a_notebook(compiled: CompileResult, metrics: dict[str, Any], tmp_path: Path) -> None:
    (result,) = compiled.bundles
    report = result.report
    assert report.metrics == metrics
    assert report == Report.open(str(result.path))
    frame = report._repr_html_()
    assert frame.startswith('<iframe title="bertc report" sandbox srcdoc="')
    source = frame.partition('srcdoc="')[2].partition('"')[0]
    assert unescape(source) == report.page
    assert compiled._repr_html_() == frame
    assert report.save(tmp_path / "page.html").read_text(encoding="utf-8") == report.page
    with pytest.raises(UsageError, match=r"cannot write .*none/page.html"):
        report.save(tmp_path / "none" / "page.html")


def test_without_a_report(onnx_model: Path, data: Path, out: Path) -> None:
    built: Built = build(onnx_model, out, calibration_data=data, eval_data=data)
    assert not [stage for stage in built.progress.started if "FP32" in stage and "timing" in stage]
    assert "report/report.html" not in everything(built.path)
    metrics = json.loads(Bundle.open(built.path).read("report/metrics.json"))
    assert metrics["latency"] is None
    slower = metrics["tried"][1]
    assert (slower["value"], slower["outcome"]) == (None, "slower; its accuracy was not measured")
    with pytest.raises(UsageError, match=r"has no report/report.html"):
        _ = built.result.report
    assert "has no report/report.html" in CompileResult((built.result,))._repr_html_()
    gone = replace(built.result, path=out / "gone.bundle")
    with pytest.raises(UsageError, match="does not exist"):
        _ = gone.report


def test_nothing_is_timed_for_a_device_that_is_not_here(onnx_model: Path, data: Path, out: Path) -> None:
    options = {**OPTIONS, "eval_data": data, "calibration_data": data}
    (result,) = compile_model(onnx_model, out, target="raspberry-pi-5", **options).bundles
    assert result.report.metrics["latency"] is None
    assert [each["outcome"] for each in result.report.metrics["tried"]] == ["shipped"]


def test_warnings_are_in_the_report(onnx_model: Path, out: Path) -> None:
    with pytest.warns(UserWarning, match="no --eval-data was given"):
        (result,) = compile_model(onnx_model, out, precision="fp32", runtime="onnxruntime").bundles
    assert ["no --eval-data was given" in each for each in result.report.metrics["warnings"]] == [True]
    assert "no --eval-data was given" in result.report.page
