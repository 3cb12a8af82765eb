"""Whole compiles for GPUs that are not here: engines, graphs to build on the device, simulated accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import numpy as np
import pytest

from targets import Bundle
from tests.support.compiling import bertc, build

ROOT = Path(__file__).resolve().parents[2]
NEEDS_RTX = "TensorRT-RTX is not installed"


def test_an_engine_ahead_of_time(onnx_model: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_libs", reason=NEEDS_RTX)
    built = build(
        onnx_model, tmp_path, target="rtx-ada", calibration_data=data, calibration_samples=16, eval_data=data
    )
    bundle = Bundle.open(built.path)
    assert bundle.verify().files > 5
    engine = bundle.manifest.engine
    assert engine is not None
    assert bundle.manifest.runtime.precision == "fp8"
    assert bundle.manifest.runtime.model == engine.variants[0].engine == "model/model.engine"
    assert (engine.compute_capabilities, bundle.manifest.target.compute_capabilities) == (("8.9",), ("8.9",))
    assert engine.shapes.max == (8, bundle.manifest.tokenizer.max_length)
    assert "no engine was inspected" in engine.placement
    assert bundle.manifest.validation is not None
    assert bundle.manifest.validation["evidence"] == "simulated"
    assert built.result.validation.agreement is not None
    assert built.result.validation.agreement > 0.8


def test_a_graph_to_build_on_the_device(onnx_model: Path, data: Path, tmp_path: Path) -> None:
    built = build(onnx_model, tmp_path, target="jetson-orin", calibration_data=data, calibration_samples=16)
    bundle = Bundle.open(built.path)
    engine = bundle.manifest.engine
    assert engine is not None
    assert [each.precision for each in engine.variants] == ["int8", "fp16"]
    assert all(each.onnx in bundle and each.engine is None for each in engine.variants)
    assert engine.compute_capabilities == ()
    assert bundle.manifest.runtime.model == "model/model.onnx"


def test_the_same_model_gives_the_same_content(onnx_model: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx_libs", reason=NEEDS_RTX)
    options: dict[str, Any] = {"target": "rtx-ampere", "calibration_data": data, "calibration_samples": 16}
    first, second = (build(onnx_model, tmp_path / name, **options) for name in ("a", "b"))
    assert first.result.precision == "int8-weights"
    assert first.result.content_digest == second.result.content_digest


def test_commands_on_a_machine_without_the_gpu(onnx_model: Path, data: Path, tmp_path: Path) -> None:
    from targets.gpu import gpus

    if gpus().found:
        pytest.skip("this machine has a GPU")
    compiled = build(
        onnx_model, tmp_path, target="nvidia-generic", precision="fp16", eval_data=data, max_drop=0.5
    )
    for command in (("verify",), ("selftest",), ("bench",), ("run", "--text", "x")):
        name, *rest = command
        bertc(name, compiled.path, *rest).fails(6, "it needs an NVIDIA GPU")
    assert bertc("verify", compiled.path, "--no-device").code == 0
    shown = bertc("inspect", compiled.path)
    assert shown.code == 0
    assert "engine: built on the device by `bertc build`" in shown.out
    assert "read back" not in shown.out
    document = json.loads(bertc("inspect", compiled.path, "--json").out)
    schema = json.loads((ROOT / "docs" / "schemas" / "inspect.schema.json").read_bytes())
    jsonschema.validate(document, schema)
    assert document["engine"]["variants"][0]["precision"] == "fp16"
    told = bertc("validate", compiled.path, "--eval-data", data, "--json")
    assert told.code == 0, told.err
    record = json.loads(told.out)
    assert record["evidence"] == "simulated"
    assert np.isclose(record["compiled"], compiled.result.validation.compiled or -1.0, atol=1e-6)
    assert "simulated on this machine" in bertc("validate", compiled.path, "--eval-data", data).out


@pytest.mark.parametrize(
    ("options", "code", "part"),
    [
        (("--target", "rtx-ampere", "--precision", "fp8"), 3, "has no FP8 products"),
        (("--target", "jetson-orin", "--precision", "int8-dynamic"), 3, "each run"),
        (("--target", "rtx-ada", "--precision", "auto"), 3, "no GPU to measure on"),
        (("--target", "rtx-ada", "--runtime", "openvino"), 2, "has no runtime 'openvino'"),
        (("--target", "native", "--precision", "fp8"), 3, "no fp8 products on CPUs"),
    ],
)
def test_what_cannot_be_built(
    onnx_model: Path, data: Path, tmp_path: Path, options: tuple[str, ...], code: int, part: str
) -> None:
    found = bertc(
        "compile",
        onnx_model,
        "-o",
        tmp_path / "out",
        "--calibration-data",
        data,
        "--calibration-samples",
        16,
        *options,
    )
    found.fails(code, part)
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_fp8_needs_text(onnx_model: Path, tmp_path: Path) -> None:
    bertc("compile", onnx_model, "-o", tmp_path, "--target", "rtx-ada", "--precision", "fp8").fails(
        2, "FP8 needs text to calibrate on"
    )
