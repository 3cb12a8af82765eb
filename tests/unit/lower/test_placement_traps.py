"""Each known fall-back to float: it fires, the census sees and names it, and our lowerings avoid it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from compiler.lower import onnxruntime, onnxruntime_census, openvino, openvino_census
from compiler.lower.artifact import Census
from compiler.lower.openvino_probe import quantized_on_each_run
from compiler.lower.traps import (
    ATTENTION_ZERO_POINT,
    FLOAT_ACTIVATIONS,
    FLOAT_BIAS_GEMM,
    SHARED_S8,
    STATIC_DIMS,
    TRAPS,
    UNSIGNED_WEIGHTS,
    WIDE_GROUP,
)
from compiler.quantize.plan import QuantPlan
from compiler.quantize.quantizer import quantize_dynamic
from targets.bundle.parse import parse_manifest
from targets.errors import UnsupportedError
from targets.spec import QuantScheme
from tests.support.bundles import listed_manifest
from tests.support.lowered import FLOAT_PRODUCTS, NO_VNNI, S8_PRODUCTS, VNNI, Case
from tests.support.traps import (
    CHANNELS,
    attention_plan,
    gemm,
    linear_plan,
    matmuls,
    openvino_attention,
    openvino_linear,
)

ROOT = Path(__file__).resolve().parents[3]
FREE: list[str | int] = ["batch", "sequence", CHANNELS]
FIXED: list[str | int] = [1, 16, CHANNELS]
S8_LINEARS = QuantScheme("s8", False, 127, "float", "float")
F32 = {"INFERENCE_PRECISION_HINT": "f32"}
needs_vnni = pytest.mark.skipif(not VNNI, reason=NO_VNNI)


def of_openvino(network: Any, plan: QuantPlan, **options: str) -> Census:
    return openvino_census.read_census(network, plan, F32 | options, {"lin0": ("lin0_added",)})


def assert_refused(census: Census, runtime: str, trap: str, kernel: str) -> None:
    assert census.in_float == census.placements
    assert {each.trap for each in census.placements} == {trap}
    assert {each.kernel for each in census.placements} == {kernel}
    with pytest.raises(UnsupportedError) as raised:
        census.require_int8(runtime)
    assert raised.value.exit_code == 3
    assert_recorded(census)
    count, known = len(census.placements), TRAPS[runtime][trap]  # type: ignore[index]
    first = census.placements[0]
    assert raised.value.message == (
        f"{runtime} would run {count} of {count} INT8 products in float, "
        f"first {first.role} as {kernel}: {known.reason}"
    )
    assert raised.value.hint == known.way_out
    assert "--" in raised.value.hint


def assert_int8(census: Census, *kernels: str) -> None:
    assert census.placements
    assert census.in_float == ()
    assert {each.kernel for each in census.placements} == set(kernels)
    assert {each.trap for each in census.placements} == {None}
    census.require_int8("onnxruntime")
    assert_recorded(census)


def assert_recorded(census: Census) -> None:
    """The manifest takes the names that the runtime gives its operators."""
    record = census.to_record([("layer0.ffn_up", "one reason"), ("head", "one reason")])
    assert [group.roles for group in record.kept_float] == [("layer0.ffn_up", "head")]
    assert sum(len(group.roles) for group in record.products) == len(census.placements)
    assert len(record.products) == len({(each.kernel, each.int8) for each in census.placements})
    manifest = replace(listed_manifest(), placement=record)
    assert parse_manifest(manifest.to_json()) == manifest


ONNXRUNTIME: dict[str, tuple[Callable[[], bytes], int, str, str]] = {
    "fixed dimensions": (lambda: matmuls(FIXED), 1, STATIC_DIMS, "Gemm"),
    "a matrix as input": (lambda: matmuls(["batch", CHANNELS]), 1, STATIC_DIMS, "Gemm"),
    "S8 shared by three": (lambda: matmuls(FREE, np.int8, 3), 3, SHARED_S8, "MatMul"),
    "Gemm with a float bias": (
        lambda: gemm(int32_bias=False, quantized_output=False),
        1,
        FLOAT_BIAS_GEMM,
        "Gemm",
    ),
}
ONNXRUNTIME_TWINS: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "free dimensions": (lambda: matmuls(FREE), 1, "MatMulIntegerToFloat"),
    "S8 read once": (lambda: matmuls(FREE, np.int8), 1, "MatMulIntegerToFloat"),
    "U8 shared by three": (lambda: matmuls(FREE, np.uint8, 3), 3, "MatMulIntegerToFloat"),
    "Gemm with an INT32 bias": (lambda: gemm(int32_bias=True, quantized_output=False), 1, "QGemm"),
    "Gemm with a quantized output": (lambda: gemm(int32_bias=False, quantized_output=True), 1, "QGemm"),
}


@pytest.mark.parametrize(("data", "count", "trap", "kernel"), ONNXRUNTIME.values(), ids=ONNXRUNTIME)
def test_onnxruntime_falls_back(data: Callable[[], bytes], count: int, trap: str, kernel: str) -> None:
    census = onnxruntime_census.read_census(data(), linear_plan(count))
    assert len(census.placements) == count
    assert_refused(census, "onnxruntime", trap, kernel)


@pytest.mark.parametrize(("data", "count", "kernel"), ONNXRUNTIME_TWINS.values(), ids=ONNXRUNTIME_TWINS)
def test_onnxruntime_without_the_trap(data: Callable[[], bytes], count: int, kernel: str) -> None:
    census = onnxruntime_census.read_census(data(), linear_plan(count))
    assert len(census.placements) == count
    assert_int8(census, kernel)
    import onnxruntime as ort

    assert census.runtime_version == ort.__version__


def test_a_product_that_onnxruntime_lost_is_refused_without_a_guess() -> None:
    census = onnxruntime_census.read_census(matmuls(FREE), linear_plan(2))
    (lost,) = census.in_float
    assert (lost.name, lost.kernel, lost.trap) == ("lin1", "an operator of another name", None)
    with pytest.raises(
        UnsupportedError, match=r"1 of 2 INT8 products in float, first layer0\.lin1"
    ) as raised:
        census.require_int8("onnxruntime")
    assert "--runtime" in raised.value.hint


@pytest.mark.parametrize(
    ("form", "kernel"), [("u8", "FullyConnected f32"), ("u8 around 128", "FullyConnected f32 on u8 weights")]
)
def test_openvino_with_unsigned_weights(form: str, kernel: str) -> None:
    assert_refused(of_openvino(openvino_linear(form), linear_plan()), "openvino", UNSIGNED_WEIGHTS, kernel)


def test_openvino_with_signed_weights() -> None:
    census = of_openvino(openvino_linear("s8"), linear_plan())
    assert_int8(census, "FullyConnected u8")


def test_openvino_with_float_activations() -> None:
    """It reports the precision "i8" of a kernel that computes in float on 8-bit weights."""
    census = of_openvino(openvino_linear("s8", quantized=False), linear_plan())
    assert_refused(census, "openvino", FLOAT_ACTIVATIONS, "FullyConnected f32 on i8 weights")


@needs_vnni
@pytest.mark.parametrize(
    ("form", "kernel"),
    [("asymmetric", "Subgraph f32"), ("u8 around 128", "Subgraph f32 on i8 operands")],
)
def test_openvino_attention_with_a_zero_point(form: str, kernel: str) -> None:
    """With U8 around 128 the subgraph says "i8" of itself, and takes two operands of three in float."""
    census = of_openvino(openvino_attention(form), attention_plan())
    assert_refused(census, "openvino", ATTENTION_ZERO_POINT, kernel)


@needs_vnni
def test_openvino_attention_around_zero() -> None:
    assert_int8(of_openvino(openvino_attention("s8"), attention_plan()), "Subgraph i8")


@needs_vnni
@pytest.mark.parametrize(("channels", "group"), [(32, "64"), (64, "128")])
def test_openvino_with_a_group_wider_than_its_input(channels: int, group: str) -> None:
    plan = linear_plan(channels=channels, static=False)
    network = openvino_linear(channels=channels, quantized=False)
    census = of_openvino(network, plan, DYNAMIC_QUANTIZATION_GROUP_SIZE=group)
    assert_refused(census, "openvino", WIDE_GROUP, "FullyConnected f32 on i8 weights")


@needs_vnni
@pytest.mark.parametrize(("channels", "group"), [(32, "32"), (48, "32"), (64, "64"), (96, "64")])
def test_openvino_with_a_group_that_fits(channels: int, group: str) -> None:
    plan = linear_plan(channels=channels, static=False)
    network = openvino_linear(channels=channels, quantized=False)
    census = of_openvino(network, plan, DYNAMIC_QUANTIZATION_GROUP_SIZE=group)
    assert_int8(census, "FullyConnected i8 quantized on each run")
    assert quantized_on_each_run(network, plan, F32 | {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "0"}) == frozenset()
    assert len(network.outputs) == 1


CODE = """
import json
from compiler.lower.openvino_census import read_census
from tests.support.traps import attention_plan, linear_plan, openvino_attention, openvino_linear

options = {"INFERENCE_PRECISION_HINT": "f32"}
linear = read_census(openvino_linear("s8"), linear_plan(), options, {"lin0": ("lin0_added",)})
attention = read_census(openvino_attention("s8"), attention_plan(), options, {})
print(json.dumps([[e.int8, e.kernel, e.trap] for e in (*linear.placements, *attention.placements)]))
"""


@needs_vnni
@pytest.mark.parametrize("isa", ["AVX2", "AVX512_CORE"])
def test_openvino_without_vnni_computes_attention_as_two_int8_products(isa: str) -> None:
    """The plugin with the kernels of an older CPU, by the variable of its kernel library."""
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ONEDNN_MAX_CPU_ISA": isa, "DNNL_MAX_CPU_ISA": isa},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(done.stdout) == [[True, "FullyConnected u8", None], [True, "MatMul i8", None]]


def test_our_onnx_stays_int8_when_its_dimensions_are_fixed(case: Case) -> None:
    quantized = case.quantized(FLOAT_PRODUCTS)
    artifact = onnxruntime.lower(quantized.model, quantized.plan, "int8")
    model = onnx.load_from_string(artifact.files[artifact.main])
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, (1, 16), strict=True):
            dim.dim_value = size
    census = onnxruntime_census.read_census(model.SerializeToString(), quantized.plan)
    assert len(census.placements) == len(quantized.plan.linears)
    assert_int8(census, "MatMulIntegerToFloat")


def test_our_onnx_stays_int8_with_shared_s8_and_a_pooler_with_a_float_bias(case: Case) -> None:
    quantized = case.quantized(S8_LINEARS)
    artifact = onnxruntime.lower(quantized.model, quantized.plan, "int8")
    census = onnxruntime_census.read_census(artifact.files[artifact.main], quantized.plan)
    assert_int8(census, "MatMulIntegerToFloat")
    assert sum(each.role == "head" for each in census.placements) >= 2


@needs_vnni
def test_our_openvino_model_is_int8_in_linear_layers_and_attention(case: Case) -> None:
    quantized = case.quantized(S8_PRODUCTS)
    census = openvino.lower(quantized.model, quantized.plan, "int8").census
    assert {each.role for each in census.placements} >= {"layer0.attention", "layer1.attention", "head"}
    kernels = {each.kernel for each in census.placements}
    assert {"FullyConnected u8", "Subgraph i8"} <= kernels
    # The plugin stores as S8 what FakeQuantize describes around zero.
    assert kernels <= {"FullyConnected u8", "FullyConnected i8", "Subgraph i8"}
    assert census.in_float == ()
    assert_recorded(census)


@needs_vnni
def test_a_plan_with_a_zero_point_at_attention_is_refused(case: Case) -> None:
    quantized = case.quantized(S8_PRODUCTS)
    plan = quantized.plan
    attentions = {
        name: replace(each, query=replace(each.query, zero_point=100, signed=False))
        for name, each in plan.attentions.items()
        if each.query is not None
    }
    with pytest.raises(UnsupportedError, match="an operand of the attention has a zero point") as raised:
        openvino.lower(quantized.model, replace(plan, attentions=attentions), "int8")
    assert "--runtime onnxruntime" in raised.value.hint


@needs_vnni
def test_dynamic_products_are_proven_one_by_one(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny encoder is 32 wide: a group of 64 leaves everything but its FFN in float."""
    plan = quantize_dynamic(case.model, FLOAT_PRODUCTS)
    wide, fitting = ({**F32, "DYNAMIC_QUANTIZATION_GROUP_SIZE": group} for group in ("64", "32"))
    monkeypatch.setattr(openvino, "_options", lambda *_: wide)
    narrow = sum(len(each.weight.values) < 64 for each in plan.linears.values() if each.weight is not None)
    assert 0 < narrow < len(plan.linears)
    with pytest.raises(UnsupportedError, match=f"{narrow} of {len(plan.linears)} INT8 products in float"):
        openvino.lower(case.model, plan, "int8-dynamic")
    monkeypatch.setattr(openvino, "_options", lambda *_: fitting)
    assert openvino.lower(case.model, plan, "int8-dynamic").census.in_float == ()
