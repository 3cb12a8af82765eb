"""fp32, fp16 and bf16, and the attention forms of each runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compiler.ir.attention import to_multi_head_attention, to_primitives
from compiler.ir.execute import Runner
from compiler.lower import onnxruntime, openvino
from compiler.lower.openvino import _bfloat16_bits
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.quantize.plan import QuantPlan
from targets.errors import UnsupportedError
from tests.support.graphs import CAUSAL, PADDING, encoder, encoder_feeds, ops
from tests.support.lowered import LOWER, Case, gap, outputs

FLOAT = {"fp32": (0.0, 1e-5), "fp16": (1e-6, 2e-2), "bf16": (1e-5, 0.15)}
BOOLEAN = "[wide] m4 = Unsqueeze(attention_mask, axes12)\n [mask] mask = Cast<to = 9>(m4)"


@pytest.mark.parametrize("precision", FLOAT)
@pytest.mark.parametrize("runtime", LOWER)
def test_float_precisions(case: Case, runtime: str, precision: Any) -> None:
    if (runtime, precision) == ("onnxruntime", "bf16"):
        with pytest.raises(UnsupportedError, match="no bf16 kernels") as raised:
            onnxruntime.lower(case.model, QuantPlan(), precision)
        assert "--runtime openvino" in raised.value.hint
        return
    artifact = LOWER[runtime](case.model, QuantPlan(), precision)
    least, most = FLOAT[precision]
    assert least <= gap(case.reference(), outputs(artifact, case.feeds)) <= most
    assert artifact.census.placements == ()
    assert artifact.model_bytes == sum(map(len, artifact.files.values()))


@pytest.mark.parametrize("runtime", LOWER)
def test_half_precision_is_smaller(case: Case, runtime: str) -> None:
    sizes = {p: LOWER[runtime](case.model, QuantPlan(), p).model_bytes for p in ("fp32", "fp16")}
    assert sizes["fp16"] < 0.75 * sizes["fp32"]


def test_weights_beyond_half_precision_stay_finite() -> None:
    words = np.full((200, 8), 1e5, np.float32)
    words[::2] = -1e5
    model = encoder(weights={"words": words})
    for lower in LOWER.values():
        found = outputs(lower(model, QuantPlan(), "fp16"), [encoder_feeds()])
        assert np.isfinite(found[0]["logits"]).all()


def test_bfloat16_rounds_to_nearest_even() -> None:
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-16, -2.5, 0.0], np.float32)
    bits = _bfloat16_bits(values).astype(np.uint32) << 16
    np.testing.assert_array_equal(bits.view(np.float32), [1.0, 1.0, 1 + 2**-6, 1 + 2**-7, -2.5, 0.0])


@pytest.mark.parametrize("mask", ["", PADDING, BOOLEAN, CAUSAL], ids=["none", "padding", "boolean", "causal"])
@pytest.mark.parametrize("passes", [False, True], ids=["raw", "passes"])
@pytest.mark.parametrize("runtime", LOWER)
def test_masks_of_every_form(runtime: str, mask: str, passes: bool) -> None:
    model = encoder(layers=2, mask=mask)
    feeds = [encoder_feeds(), encoder_feeds(2, 9, seed=1)]
    reference = _written_out(model, feeds)
    if passes:
        PassManager(encoder_passes()).run(model)
    artifact = LOWER[runtime](model, QuantPlan(), "fp32")
    assert gap(reference, outputs(artifact, feeds)) < 1e-4


def _written_out(model: ir.Model, feeds: Any) -> list[Any]:
    copy = model.clone()
    to_primitives(copy)
    runner = Runner(copy, threads=1, optimize=False)
    return [runner(each) for each in feeds]


def test_the_fused_form_takes_the_padding_mask_as_it_is() -> None:
    model = encoder(layers=2)
    PassManager(encoder_passes()).run(model)
    to_multi_head_attention(model)
    fused = [node for node in model.graph if node.op_type == "MultiHeadAttention"]
    assert [node.domain for node in fused] == ["com.microsoft"] * 2
    first, second = (node.inputs[4] for node in fused)
    assert first is second
    assert first is not None
    assert first.dtype == ir.DataType.INT32
    assert "Sub" not in ops(model)


def test_a_causal_mask_is_a_bias_of_the_fused_form() -> None:
    model = encoder(mask=CAUSAL)
    to_multi_head_attention(model)
    (fused,) = (node for node in model.graph if node.op_type == "MultiHeadAttention")
    assert fused.inputs[4] is None
    assert fused.inputs[5] is not None


def test_a_mask_that_the_fused_form_cannot_take_is_written_out() -> None:
    model = encoder(mask=BOOLEAN)
    to_multi_head_attention(model)
    assert "MultiHeadAttention" not in ops(model)
    assert "Softmax" in ops(model)


def test_files_and_options(case: Case) -> None:
    one = onnxruntime.lower(case.model, QuantPlan(), "fp32")
    assert (set(one.files), one.main, dict(one.options)) == ({"model/model.onnx"}, "model/model.onnx", {})
    two = openvino.lower(case.model, QuantPlan(), "fp32")
    assert set(two.files) == {openvino.XML, openvino.BIN}
    assert two.options["INFERENCE_PRECISION_HINT"] == "f32"
    assert b"bertc" in one.files[one.main]
    for data in (one.files[one.main], two.files[two.main]):
        assert b"/work" not in data
        assert b"site-packages" not in data
