"""OpenVINO's artifacts for its GPU and NPU: lowered and read back on the CPU, run at fixed lengths."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compiler.lower import openvino
from compiler.quantize.plan import QuantPlan
from targets.errors import UnsupportedError
from targets.registry import get_target
from targets.runtime.backends import open_backend
from targets.runtime.backends.openvino_devices import compile_properties
from targets.runtime.settings import DYNAMIC
from targets.spec import QuantScheme
from tests.support.lowered import Case

NPU = get_target("intel-npu").runtime("openvino")


def padded(feeds: dict[str, Any], length: int) -> dict[str, Any]:
    return {name: np.pad(each, ((0, 0), (0, length - each.shape[1]))) for name, each in feeds.items()}


def test_padding_to_a_fixed_length_changes_no_answer(case: Case) -> None:
    artifact = openvino.lower(case.model, QuantPlan(), "fp32")
    files = (artifact.files[openvino.XML], artifact.files[openvino.BIN])
    fixed = open_backend("openvino", *files, threads=1, options=artifact.options, lengths=(16, 32))
    plain = open_backend("openvino", *files, threads=1, options=artifact.options, shapes=DYNAMIC)
    for feeds in case.feeds:
        expected = plain.run(feeds)["logits"]
        for length in (16, 32):
            found = fixed.run(padded(feeds, length))["logits"]
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_scheme_of_the_devices_lowers_to_int8(case: Case) -> None:
    assert NPU.scheme == get_target("intel-igpu").runtime("openvino").scheme
    assert NPU.scheme == QuantScheme("s8", False, 127, "float", "float")
    # Half of the range, which no CPU that runs this saturates at.
    plan = case.quantized(replace(NPU.scheme, weight_qmax=64)).plan
    artifact = openvino.lower(case.model, plan, "int8")
    assert artifact.census.placements
    assert all(each.int8 for each in artifact.census.placements)


OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "64"}


def test_options_of_each_device() -> None:
    assert openvino.device_options("CPU", "int8", OPTIONS) == OPTIONS
    half = {"INFERENCE_PRECISION_HINT": "f16"}
    assert openvino.device_options("NPU", "int8", OPTIONS) == half
    assert openvino.device_options("GPU", "int8-dynamic", OPTIONS) == {**OPTIONS, **half}
    assert openvino.device_options("GPU", "fp32", {}) == {"INFERENCE_PRECISION_HINT": "f32"}
    for device, precision in (("GPU", "int8"), ("GPU", "fp32"), ("NPU", "fp16")):
        own: Any = openvino.device_options(device, precision, OPTIONS)  # type: ignore[arg-type]
        assert compile_properties(device, own, 1).items() >= own.items()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("device", "precision"), [("GPU", "bf16"), ("NPU", "bf16"), ("NPU", "int8-dynamic"), ("NPU", "fp32")]
)
def test_what_a_device_does_not_compute_is_refused(device: Any, precision: Any) -> None:
    with pytest.raises(UnsupportedError, match=f"has no {precision} on its device {device}") as caught:
        openvino.device_options(device, precision, OPTIONS)
    assert "--precision int8" in caught.value.hint
