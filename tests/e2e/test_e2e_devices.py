"""Whole compiles for devices of OpenVINO that are not here, and what they answer at fixed lengths."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from targets import Bundle
from tests.support.compiling import bertc, build


def on_the_cpu(bundle: Bundle, lengths: tuple[int, ...]) -> Bundle:
    """The same model where the CPU stands for the device."""
    runtime = replace(bundle.manifest.runtime, device="CPU", lengths=lengths, options={})
    bundle.manifest = replace(bundle.manifest, runtime=runtime)
    return bundle


def test_a_bundle_for_the_npu(onnx_model: Path, data: Path, tmp_path: Path) -> None:
    built = build(onnx_model, tmp_path, target="intel-npu", precision="fp16", max_length=48, eval_data=data)
    manifest = Bundle.open(built.path).manifest
    assert (manifest.runtime.device, manifest.runtime.lengths) == ("NPU", (32, 48))
    assert manifest.runtime.options == {"INFERENCE_PRECISION_HINT": "f16"}
    assert (manifest.max_length, manifest.tokenizer.max_length) == (48, 48)
    assert built.result.validation.evidence == "simulated"
    checked = bertc("check-device", built.path, "--json")
    report = {each["name"]: each["ok"] for each in json.loads(checked.out)["requirements"]}
    if not report["device"]:
        assert checked.code == 6
        assert "OpenVINO finds no NPU here" in checked.err
        bertc("run", built.path, "--text", "a").fails(6, "NPU")
    shown = bertc("inspect", built.path).out
    assert "device     NPU, one text at a time at 32, 48 tokens" in shown
    texts = ["a good film", "it was bad " * 5, "the harbor in spring " * 20]
    with (
        on_the_cpu(Bundle.open(built.path), (32, 48)).session(threads=1) as fixed,
        on_the_cpu(Bundle.open(built.path), ()).session(threads=1) as plain,
    ):
        for own, expected in zip(fixed.infer(texts), plain.infer(texts), strict=True):
            np.testing.assert_allclose(
                own.windows[0].outputs["logits"], expected.windows[0].outputs["logits"], atol=1e-5
            )
        assert list(fixed.shapes) == [32, 48]
