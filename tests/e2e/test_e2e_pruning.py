"""`--prune-flops` from the command line to the bundle, on both runtimes and in float and INT8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from targets import Bundle
from tests.support.compiling import RUNTIMES, bertc, build

PRUNING: dict[str, Any] = {"prune_flops": 0.6, "prune_align": 8, "prune_samples": 24, "max_drop": 1.0}


def pruning_of(path: Path) -> Any:
    return Bundle.open(path).manifest.compression["pruning"]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_pruned_bundle(onnx_model: Path, data: Path, out: Path, runtime: Any, precision: Any) -> None:
    options = {"precision": precision, "runtime": runtime, "calibration_data": data, "eval_data": data}
    built = build(onnx_model, out, **options, **PRUNING)
    pruning = pruning_of(built.path)
    assert 0 < pruning["flops_kept"] <= 0.6
    assert pruning["flops_kept"] + pruning["flops_removed"] == pytest.approx(1.0)
    assert any(each["kept"] < each["groups"] for each in pruning["modules"])
    assert "pruning" in built.progress.started
    provenance: Any = Bundle.open(built.path).manifest.provenance
    assert provenance["data"]["pruning"]["texts"] == 24
    assert ("calibration" in provenance["data"]) == (precision == "int8")
    assert provenance["config"]["prune_flops"] == 0.6
    assert bertc("selftest", built.path).code == 0
    assert bertc("run", built.path, "--text", "a gripping film").code == 0


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_whole_blocks_are_cut(onnx_model: Path, data: Path, out: Path, runtime: Any, precision: Any) -> None:
    options = {"precision": precision, "runtime": runtime, "calibration_data": data, "eval_data": data}
    built = build(onnx_model, out, **options, **{**PRUNING, "prune_flops": 0.0005})
    pruning = pruning_of(built.path)
    assert 0 <= pruning["flops_kept"] <= 0.0005
    assert all(not each["kept"] for each in pruning["modules"] if each["name"].endswith("heads"))
    assert any(not each["kept"] for each in pruning["modules"] if each["name"].endswith("ffn"))
    assert bertc("selftest", built.path).code == 0
    assert bertc("run", built.path, "--text", "a gripping film").code == 0


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_budget_of_1_is_no_pruning(onnx_model: Path, data: Path, out: Path, precision: Any) -> None:
    options = {"precision": precision, "runtime": "onnxruntime", "calibration_data": data}
    plain = build(onnx_model, out / "plain", **options)
    same = build(onnx_model, out / "same", **options, prune_flops=1.0)
    assert plain.result.content_digest == same.result.content_digest
    assert "pruning" not in Bundle.open(same.path).manifest.compression


def test_the_summary_says_what_is_kept_and_removed(onnx_model: Path, data: Path, out: Path) -> None:
    argv = ["--precision", "fp32", "--runtime", "onnxruntime", "--calibration-data", data, "-o", out]
    ran = bertc("compile", onnx_model, *argv, "--prune-flops", "0.6", "--prune-align", "8")
    assert ran.code == 0, ran.err
    summary = " ".join(ran.out.split())
    assert "of the encoder's FLOPs kept" in summary
    assert "removed; heads" in summary
    assert "FFN neurons" in summary


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (("--prune-flops", "0"), ("--prune-flops 0.0", "above 0")),
        (("--prune-flops", "1.5"), ("--prune-flops 1.5",)),
        (("--prune-flops", "0.5", "--precision", "fp32"), ("pruning needs text", "--calibration-data")),
        (("--prune-targets", "heads,tails"), ("heads,tails", "heads, ffn")),
        (("--prune-align", "0"), ("--prune-align 0",)),
        (("--prune-samples", "4"), ("--prune-samples 4",)),
    ],
)
def test_what_cannot_be_meant(
    onnx_model: Path, data: Path, out: Path, argv: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    calibration = () if "fp32" in argv else ("--calibration-data", data)
    bertc("compile", onnx_model, "-o", out, *calibration, *argv).fails(2, *parts)


def test_a_budget_out_of_reach(onnx_model: Path, data: Path, out: Path) -> None:
    argv = ("--precision", "fp32", "--calibration-data", data, "-o", out, "--prune-flops", "0.001")
    argv = (*argv, "--prune-targets", "ffn")
    ran = bertc("compile", onnx_model, *argv)
    assert ran.code == 2
    assert "is out of reach" in ran.errors[-2]
