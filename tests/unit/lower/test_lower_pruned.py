"""Graphs with blocks cut out, and layers of uneven sizes, on every runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compiler.frontend.export import TracedModel
from compiler.integer.reference import IntegerReference
from compiler.lower.tensorrt.engine import build_engine
from compiler.lower.tensorrt.lowering import typed_graph
from compiler.lower.tensorrt.simulation import SimulatedBackend
from compiler.quantize.float8 import quantize_float8
from compiler.quantize.plan import QuantPlan
from compiler.quantize.quantizer import Quantized, quantize_dynamic, quantize_tables, quantize_weights
from targets.runtime.backends import open_backend
from targets.spec import QuantScheme, ShapeRange
from tests.support.lowered import (
    FLOAT_PRODUCTS,
    LOWER,
    NO_VNNI,
    S8_PRODUCTS,
    VNNI,
    Case,
    gap,
    make_case,
    outputs,
)
from tests.support.pruning import CUTS, cut, sizes_found, sizes_left
from tests.support.simulate import simulate

SYMMETRIC = QuantScheme("s8", False, 127, "float", "float")
PRODUCTS = replace(SYMMETRIC, attention_products="s8")
RUNTIMES = [
    pytest.param("onnxruntime", FLOAT_PRODUCTS, id="onnxruntime"),
    pytest.param("openvino", S8_PRODUCTS, id="openvino", marks=pytest.mark.skipif(not VNNI, reason=NO_VNNI)),
]
SHAPES = ShapeRange((1, 4), (2, 16), (4, 32))
HALF = ir.DataType.FLOAT16
# As for whole graphs in test_lower_int8 and test_tensorrt; three layers here, not two.
AGAINST_FLOAT, HALF_AGAINST_FLOAT = 0.35, 0.02


@pytest.fixture(scope="module", params=sorted(CUTS))
def pruned(request: pytest.FixtureRequest, traced: Callable[..., TracedModel]) -> Case:
    """A tiny BERT classifier of three layers, cut."""
    case = make_case(traced, layers=3)
    counts = CUTS[request.param]
    small = Case(cut(case.model, counts), case.feeds)
    assert sizes_found(small.model) == sizes_left(counts)
    return small


@pytest.mark.parametrize(("runtime", "scheme"), RUNTIMES)
def test_static_int8(pruned: Case, runtime: str, scheme: QuantScheme) -> None:
    quantized = pruned.quantized(scheme)
    assert sizes_found(quantized.model) == sizes_found(pruned.model)
    artifact = LOWER[runtime](quantized.model, quantized.plan, "int8")
    planned = quantized.plan.to_json()
    assert len(artifact.census.placements) == planned["int8_linears"] + planned["int8_attentions"]
    assert artifact.census.in_float == ()
    found = outputs(artifact, pruned.feeds)
    simulation = simulate(quantized)
    wanted = np.concatenate([simulation(each)["logits"] for each in pruned.feeds])
    error = np.abs(wanted - np.concatenate([each["logits"] for each in found])).max(axis=1)
    assert np.median(error) < 1e-5
    assert error.max() < 0.05
    assert 0 < gap(pruned.reference(), found) < AGAINST_FLOAT


@pytest.mark.parametrize("runtime", list(LOWER))
def test_fp32(pruned: Case, runtime: str) -> None:
    artifact = LOWER[runtime](pruned.model, QuantPlan(), "fp32")
    assert gap(pruned.reference(), outputs(artifact, pruned.feeds)) < 1e-4


def test_dynamic_int8_on_onnxruntime(pruned: Case) -> None:
    plan = quantize_dynamic(pruned.model, FLOAT_PRODUCTS)
    artifact = LOWER["onnxruntime"](pruned.model, plan, "int8-dynamic")
    assert len(artifact.census.placements) == len(plan.linears)
    assert 0 < gap(pruned.reference(), outputs(artifact, pruned.feeds)) < AGAINST_FLOAT


@pytest.mark.parametrize("runtime", list(LOWER))
def test_the_inputs_stay_those_of_the_model(traced: Callable[..., TracedModel], runtime: str) -> None:
    """With no attention left nothing reads the mask, and bertc feeds it all the same."""
    case = make_case(traced, layers=3)
    names = {str(each.name) for each in case.model.graph.inputs}
    artifact = LOWER[runtime](cut(case.model, CUTS["all-heads"]), QuantPlan(), "fp32")
    main = artifact.files[artifact.main]
    weights = next((data for path, data in artifact.files.items() if path != artifact.main), None)
    backend = open_backend(runtime, main, weights, threads=1, options=artifact.options)
    try:
        assert set(backend.input_names) == names
    finally:
        backend.close()


def simulated(data: bytes, case: Case) -> list[dict[str, Any]]:
    backend = SimulatedBackend(data, threads=1)
    return [backend.run({name: each[name] for name in backend.input_names}) for each in case.feeds]


def test_tensorrt_in_float(pruned: Case) -> None:
    for compute, close in ((ir.DataType.FLOAT, 1e-4), (HALF, HALF_AGAINST_FLOAT)):
        found = simulated(typed_graph(pruned.model, QuantPlan(), compute), pruned)
        assert gap(pruned.reference(), found) < close


@pytest.mark.parametrize("residual", [False, True])
def test_tensorrt_in_int8(pruned: Case, residual: bool) -> None:
    quantized = pruned.quantized(PRODUCTS if residual else SYMMETRIC, smooth=not residual)
    data = typed_graph(quantized.model, quantized.plan, HALF, residual=residual)
    assert gap(pruned.reference(), simulated(data, pruned)) < 2 * AGAINST_FLOAT


def test_tensorrt_in_int8_is_the_integer_reference(pruned: Case) -> None:
    quantized = pruned.quantized(SYMMETRIC)
    found = simulated(typed_graph(quantized.model, quantized.plan, ir.DataType.FLOAT), pruned)
    reference = IntegerReference(quantized.model, quantized.plan)
    wanted = [reference.run({name: each[name] for name in reference.input_names}) for each in pruned.feeds]
    errors = np.concatenate(
        [np.abs(a["logits"] - b["logits"]).max(axis=1) for a, b in zip(wanted, found, strict=True)]
    )
    assert np.median(errors) < 1e-5
    assert errors.max() < 0.1


def test_tensorrt_in_fp8_and_with_int8_weights(pruned: Case) -> None:
    tables = quantize_tables(pruned.model)
    for plan in (
        quantize_weights(pruned.model, SYMMETRIC),
        quantize_float8(pruned.model, pruned.feeds, tables, threads=1),
    ):
        quantized = Quantized(pruned.model, plan)
        data = typed_graph(quantized.model, quantized.plan, HALF)
        assert gap(pruned.reference(), simulated(data, pruned)) < 2 * AGAINST_FLOAT


@pytest.mark.parametrize("name", ["uneven-with-none", "all-heads", "nothing-left"])
def test_tensorrt_rtx_builds_engines(traced: Callable[..., TracedModel], name: str) -> None:
    pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT-RTX is not installed")
    case = make_case(traced, layers=3)
    case.model = cut(case.model, CUTS[name])
    quantized = case.quantized(SYMMETRIC)
    for model, plan in ((quantized.model, quantized.plan), (case.model, QuantPlan())):
        assert build_engine(typed_graph(model, plan, HALF), ["8.6"], SHAPES, workspace_mb=64)
