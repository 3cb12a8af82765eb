"""Static and dynamic INT8: what runs, what it computes and what is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from compiler.ir.encoder import EncoderGraph
from compiler.lower import onnxruntime, onnxruntime_census, openvino, openvino_census
from compiler.lower.artifact import Artifact
from compiler.quantize.quantizer import Quantized, quantize_dynamic
from targets.errors import UnsupportedError
from targets.spec import QuantScheme
from tests.support.lowered import FLOAT_PRODUCTS, LOWER, NO_VNNI, S8_PRODUCTS, VNNI, Case, gap, outputs
from tests.support.simulate import simulate

# The kernels add integers exactly; what is left is the order of float additions. Here and there it moves
# an activation across a rounding boundary, and that one step reaches the outputs as less than STEP.
SIMULATED, STEP = 1e-5, 0.05
# Random weights of two layers in 8 bits, outputs of about 1.
AGAINST_FLOAT = 0.25

STATIC = [
    pytest.param("onnxruntime", FLOAT_PRODUCTS, id="onnxruntime"),
    pytest.param("openvino", FLOAT_PRODUCTS, id="openvino-float-attention"),
    pytest.param("openvino", S8_PRODUCTS, id="openvino", marks=pytest.mark.skipif(not VNNI, reason=NO_VNNI)),
]
DYNAMIC = [
    "onnxruntime",
    pytest.param("openvino", marks=pytest.mark.skipif(not VNNI, reason=NO_VNNI)),
]


def planned(quantized: Quantized) -> int:
    json = quantized.plan.to_json()
    return int(json["int8_linears"] + json["int8_attentions"])


def assert_simulated(quantized: Quantized, case: Case, found: list[dict[str, NDArray[Any]]]) -> None:
    simulation = simulate(quantized)
    wanted = np.concatenate([simulation(each)["logits"] for each in case.feeds])
    error = np.abs(wanted - np.concatenate([each["logits"] for each in found])).max(axis=1)
    assert np.median(error) < SIMULATED
    assert error.max() < STEP


@pytest.mark.parametrize("smooth", [True, False], ids=["smooth", "plain"])
@pytest.mark.parametrize(("runtime", "scheme"), STATIC)
def test_static(case: Case, runtime: str, scheme: QuantScheme, smooth: bool) -> None:
    quantized = case.quantized(scheme, smooth=smooth)
    artifact = LOWER[runtime](quantized.model, quantized.plan, "int8")
    assert artifact.runtime == runtime
    assert len(artifact.census.placements) == planned(quantized) > 0
    assert artifact.census.in_float == ()
    found = outputs(artifact, case.feeds)
    assert_simulated(quantized, case, found)
    assert 0 < gap(case.reference(), found) < AGAINST_FLOAT


@pytest.mark.parametrize("runtime", DYNAMIC)
def test_dynamic(case: Case, runtime: str) -> None:
    plan = quantize_dynamic(case.model, FLOAT_PRODUCTS)
    artifact = LOWER[runtime](case.model, plan, "int8-dynamic")
    assert len(artifact.census.placements) == len(plan.linears)
    found = outputs(artifact, case.feeds)
    weights_only = simulate(Quantized(case.model, plan))
    assert 0 < gap(case.reference(), found) < AGAINST_FLOAT
    assert gap([weights_only(each) for each in case.feeds], found) > 1e-4, "activations were not quantized"


def onnx_tensors(artifact: Artifact) -> dict[str, ir.TensorProtocol]:
    model = ir.from_proto(onnx.load_from_string(artifact.files[artifact.main]))
    return {name: value.const_value for name, value in model.graph.initializers.items() if value.const_value}


def test_weights_and_tables_are_int8_in_the_onnx_file(case: Case) -> None:
    quantized = case.quantized(FLOAT_PRODUCTS)
    artifact = onnxruntime.lower(quantized.model, quantized.plan, "int8")
    data = artifact.files[artifact.main]
    stored = {name: each for name, each in onnx_tensors(artifact).items() if each.dtype == ir.DataType.INT8}
    for name, each in quantized.plan.linears.items():
        assert each.weight is not None
        np.testing.assert_array_equal(stored[f"{name}_w"].numpy(), each.weight.values)
        assert each.weight.values.tobytes() in data
    assert len(quantized.plan.tables) == 1
    for rows in quantized.plan.tables.values():
        assert any(np.array_equal(each.numpy(), rows.values) for each in stored.values())
    largest = max(t.numpy().size for t in onnx_tensors(artifact).values() if t.dtype == ir.DataType.FLOAT)
    assert largest <= 128 * 32, "a float table of that size can only be the position embeddings"


@pytest.mark.skipif(not VNNI, reason=NO_VNNI)
def test_weights_and_tables_are_int8_in_the_openvino_file(case: Case) -> None:
    quantized = case.quantized(S8_PRODUCTS)
    artifact = openvino.lower(quantized.model, quantized.plan, "int8")
    data = artifact.files[openvino.BIN]
    for each in quantized.plan.linears.values():
        assert each.weight is not None
        assert np.ascontiguousarray(each.weight.values.T).tobytes() in data
        assert each.weight.dequantized().T.tobytes() not in data
    for rows in quantized.plan.tables.values():
        assert rows.values.tobytes() in data


@pytest.mark.parametrize("precision", ["int8", "int8-dynamic", "fp32"])
@pytest.mark.parametrize("runtime", list(LOWER))
def test_the_same_input_gives_the_same_bytes(case: Case, runtime: str, precision: Any) -> None:
    if precision == "int8-dynamic" and runtime == "openvino" and not VNNI:
        pytest.skip(NO_VNNI)
    quantized = case.quantized(FLOAT_PRODUCTS)
    model, plan = quantized.model, quantized.plan
    if precision == "int8-dynamic":
        model, plan = case.model, quantize_dynamic(case.model, FLOAT_PRODUCTS)
    if precision == "fp32":
        model, plan = case.model, type(plan)()
    first, second = (LOWER[runtime](model, plan, precision) for _ in range(2))
    assert first.files == second.files
    assert first.census == second.census


def test_lowering_leaves_the_graph_and_the_plan_alone(case: Case) -> None:
    from compiler.ir.printer import to_text

    quantized = case.quantized(FLOAT_PRODUCTS)
    before, scales = (
        to_text(quantized.model),
        [e.weight.scale.copy() for e in quantized.plan.linears.values() if e.weight],
    )
    for lower in LOWER.values():
        lower(quantized.model, quantized.plan, "int8")
    assert to_text(quantized.model) == before
    for each, scale in zip(quantized.plan.linears.values(), scales, strict=True):
        assert each.weight is not None
        np.testing.assert_array_equal(each.weight.scale, scale)


def test_a_product_that_the_plan_leaves_in_float(case: Case) -> None:
    from compiler.quantize.plan import Decision

    quantized = case.quantized(FLOAT_PRODUCTS)
    name = next(n for n, each in quantized.plan.linears.items() if each.role == "layer0.ffn_up")
    linears = dict(quantized.plan.linears)
    linears[name] = replace(
        linears[name], decision=Decision("float", "it is sensitive"), weight=None, input=None
    )
    mixed = replace(quantized, plan=replace(quantized.plan, linears=linears))
    for lower in LOWER.values():
        artifact = lower(mixed.model, mixed.plan, "int8")
        assert name not in {each.name for each in artifact.census.placements}
        assert_simulated(mixed, case, outputs(artifact, case.feeds))


def test_a_fallback_of_onnxruntime_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (onnxruntime, onnxruntime_census):
        monkeypatch.setattr(module, "INT8_KERNELS", frozenset({"QGemm"}), raising=False)
    quantized = case.quantized(FLOAT_PRODUCTS)
    with pytest.raises(UnsupportedError) as raised:
        onnxruntime.lower(quantized.model, quantized.plan, "int8")
    count = len(quantized.plan.linears)
    assert f"onnxruntime would run {count} of {count} INT8 products in float" in raised.value.message
    assert "as MatMulIntegerToFloat" in raised.value.message
    assert "--runtime" in raised.value.hint


def broken(case: Case, **changes: Any) -> Quantized:
    quantized = case.quantized(FLOAT_PRODUCTS, smooth=False)
    linears = dict(quantized.plan.linears)
    name = next(n for n, each in linears.items() if each.role == "layer0.ffn_up")
    weight = linears[name].weight
    assert weight is not None
    if "unsigned" in changes:
        values = (weight.values.astype(np.int16) + 128).astype(np.uint8)
        linears[name] = replace(linears[name], weight=replace(weight, values=values))  # type: ignore[arg-type]
    else:
        linears[name] = replace(linears[name], input=None)
    return replace(quantized, plan=replace(quantized.plan, linears=linears))


@pytest.mark.parametrize("change", ["unsigned", "without_input"])
def test_a_fallback_of_openvino_is_refused(case: Case, change: str) -> None:
    """Unsigned weights have no INT8 kernel, and INT8 weights under float activations are no INT8 product."""
    quantized = broken(case, **{change: True})
    with pytest.raises(
        UnsupportedError, match=r"OpenVINO would run 1 of \d+ INT8 products in float"
    ) as raised:
        openvino.lower(quantized.model, quantized.plan, "int8")
    assert "first layer0.ffn_up as FullyConnected f32" in raised.value.message


def test_dynamic_weights_alone_are_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a group of 0 OpenVINO keeps activations in float, and still names its kernels i8."""
    options = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}
    monkeypatch.setattr(openvino, "_options", lambda *_: options)
    plan = quantize_dynamic(case.model, FLOAT_PRODUCTS)
    with pytest.raises(UnsupportedError, match="FullyConnected f32 on i8 weights"):
        openvino.lower(case.model, plan, "int8-dynamic")


def test_an_unknown_openvino_kernel_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_census, "_PRODUCTS", ("Nothing",))
    quantized = case.quantized(FLOAT_PRODUCTS)
    with pytest.raises(UnsupportedError, match="no operator of the runtime model"):
        openvino.lower(quantized.model, quantized.plan, "int8")


def test_the_census_names_every_role(case: Case) -> None:
    quantized = case.quantized(FLOAT_PRODUCTS)
    artifact = onnxruntime.lower(quantized.model, quantized.plan, "int8")
    roles = EncoderGraph.find(quantized.model).roles()
    assert {each.role for each in artifact.census.placements} == {*roles.values(), "head"}
    json = artifact.census.to_json()
    assert json["int8_products"] == json["planned_int8_products"] == len(quantized.plan.linears)
    assert json["operators"]["MatMulIntegerToFloat"] == len(quantized.plan.linears)
    assert json["operators"]["MultiHeadAttention"] == 2
