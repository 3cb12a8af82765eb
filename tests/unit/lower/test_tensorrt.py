"""The strongly typed graph: what it computes, as simulated, and the engines that are built without a GPU."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compiler.integer.reference import IntegerReference
from compiler.ir.edit import add_initializer, make_node
from compiler.ir.execute import serialize
from compiler.lower.tensorrt.engine import build_engine, with_engine
from compiler.lower.tensorrt.lowering import FILE, FLOAT_FILE, lower, typed_graph
from compiler.lower.tensorrt.scales import numpy_type, storable, storable_weight
from compiler.lower.tensorrt.simulation import SimulatedBackend
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.quantize.float8 import LARGEST, float8_columns, quantize_float8
from compiler.quantize.plan import QuantPlan, QWeight
from compiler.quantize.quantizer import Quantized, quantize_dynamic, quantize_tables, quantize_weights
from targets.errors import MissingBackendError, UnsupportedError
from targets.registry import get_target
from targets.runtime.engine import packages
from targets.runtime.engine.builder import BuildOptions, build
from targets.spec import QuantScheme, ShapeRange
from tests.support.lowered import Case, gap, make_case
from tests.support.models import FAMILIES
from tests.support.parity import Feeds, random_feeds

HALF = ir.DataType.FLOAT16
SYMMETRIC = QuantScheme("s8", False, 127, "float", "float")
PRODUCTS = replace(SYMMETRIC, attention_products="s8")
SHAPES = ShapeRange((1, 4), (2, 16), (4, 32))
COMPUTE = {"fp16": HALF, "bf16": ir.DataType.BFLOAT16, "fp32": ir.DataType.FLOAT}
# Outputs of about 1 from random weights: 11 bits of mantissa, 8 bits, and 24 bits in another order of sums.
CLOSE = {"fp16": 0.01, "bf16": 0.08, "fp32": 1e-5}
AGAINST_FLOAT = {"int8": 0.25, "int8-weights": 0.05, "fp8": 0.35}


@pytest.fixture(scope="module")
def case(traced: Callable[..., Any]) -> Case:
    return make_case(traced)


def simulated(data: bytes, feeds: list[Feeds]) -> list[dict[str, Any]]:
    backend = SimulatedBackend(data, threads=1)
    return [backend.run({name: each[name] for name in backend.input_names}) for each in feeds]


def plan_of(case: Case, precision: str) -> Quantized:
    if precision == "int8":
        return case.quantized(SYMMETRIC)
    if precision == "int8-weights":
        return Quantized(case.model, quantize_weights(case.model, SYMMETRIC))
    return Quantized(
        case.model, quantize_float8(case.model, case.feeds, quantize_tables(case.model), threads=1)
    )


def types_of(data: bytes) -> Mapping[str, ir.DataType | None]:
    graph = ir.from_proto(onnx.load_from_string(data)).graph
    return {str(out.name): out.dtype for node in graph for out in node.outputs}


@pytest.mark.parametrize("precision", COMPUTE)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_float_graph_of_every_family(traced: Callable[..., Any], family: str, precision: str) -> None:
    model = traced(family, "text-classification").model
    PassManager(encoder_passes(fuse_qkv=family == "bert")).run(model)
    feeds = [random_feeds(3, 12, vocab_size=300, seed=1)]
    case = Case(model, feeds)
    found = simulated(typed_graph(model, QuantPlan(), COMPUTE[precision]), feeds)
    assert gap(case.reference(), found) < CLOSE[precision]


@pytest.mark.parametrize(
    "task", ["token-classification", "question-answering", "feature-extraction", "fill-mask"]
)
def test_heads_of_every_task(traced: Callable[..., Any], task: str) -> None:
    case = make_case(traced, task)
    found = simulated(typed_graph(case.model, QuantPlan(), HALF), case.feeds)
    masks = [each["attention_mask"].astype(bool) for each in case.feeds]
    for expected, got, mask in zip(case.reference(), found, masks, strict=True):
        for name, wanted in expected.items():
            per_token = wanted.shape[:2] == mask.shape
            one, two = (wanted[mask], got[name][mask]) if per_token else (wanted, got[name])
            assert np.abs(one - two).max() < 0.02 * max(1.0, float(np.abs(wanted).max()))


@pytest.mark.parametrize("precision", AGAINST_FLOAT)
def test_quantized(case: Case, precision: str) -> None:
    quantized = plan_of(case, precision)
    data = typed_graph(quantized.model, quantized.plan, HALF)
    assert 0 < gap(case.reference(), simulated(data, case.feeds)) < AGAINST_FLOAT[precision]


@pytest.mark.parametrize("scheme", [SYMMETRIC, PRODUCTS], ids=["linears", "attention"])
def test_w8a8_is_the_integer_reference(case: Case, scheme: QuantScheme) -> None:
    """In FP32 the order of sums differs alone, and steps of probabilities: 1/127 there, 1/255 here."""
    quantized = case.quantized(scheme)
    found = simulated(typed_graph(quantized.model, quantized.plan, ir.DataType.FLOAT), case.feeds)
    reference = IntegerReference(quantized.model, quantized.plan)
    wanted = [reference.run({name: each[name] for name in reference.input_names}) for each in case.feeds]
    errors = np.concatenate(
        [np.abs(a["logits"] - b["logits"]).max(axis=1) for a, b in zip(wanted, found, strict=True)]
    )
    assert np.median(errors) < (1e-5 if scheme is SYMMETRIC else 0.03)
    assert errors.max() < 0.1


def test_every_weighted_product_has_both_inputs_dequantized(case: Case) -> None:
    quantized = plan_of(case, "int8")
    graph = ir.from_proto(onnx.load_from_string(typed_graph(quantized.model, quantized.plan, HALF))).graph
    weighted = [node for node in graph if node.op_type == "MatMul" and "_w_" in str(node.inputs[1].name)]  # type: ignore[union-attr]
    assert len(weighted) == len(quantized.plan.linears)
    for node in weighted:
        assert all(
            value is not None and value.producer().op_type == "DequantizeLinear" for value in node.inputs
        )  # type: ignore[union-attr]


def test_the_residual_stream_as_it_was_quantized(case: Case) -> None:
    quantized = case.quantized(SYMMETRIC, smooth=False)
    plain, residual = (
        typed_graph(quantized.model, quantized.plan, HALF, residual=flag) for flag in (False, True)
    )

    def adds(data: bytes) -> int:
        graph = ir.from_proto(onnx.load_from_string(data)).graph
        return sum(
            node.op_type == "Add"
            and any(
                v is not None and v.producer() is not None and v.producer().op_type == "DequantizeLinear"
                for v in node.inputs
            )  # type: ignore[union-attr]
            for node in graph
        )

    assert adds(plain) == 0
    assert adds(residual) > 0
    assert 0 < gap(simulated(plain, case.feeds), simulated(residual, case.feeds)) < 0.2


def test_one_float_type_and_outputs_in_fp32(case: Case) -> None:
    data = typed_graph(case.model, QuantPlan(), HALF)
    floats = [kind for name, kind in types_of(data).items() if kind in (ir.DataType.FLOAT, HALF)]
    assert floats.count(ir.DataType.FLOAT) == 1, "the output alone"
    assert types_of(data)["logits"] == ir.DataType.FLOAT


def test_the_same_input_gives_the_same_bytes_and_nothing_is_changed(case: Case) -> None:
    from compiler.ir.printer import to_text

    quantized = plan_of(case, "int8")
    before = to_text(quantized.model)
    first, second = (typed_graph(quantized.model, quantized.plan, HALF) for _ in range(2))
    assert first == second
    assert to_text(quantized.model) == before


def test_the_artifact_of_a_jetson(case: Case) -> None:
    quantized, target = plan_of(case, "int8"), get_target("jetson-orin")
    artifact = lower(
        quantized.model, quantized.plan, "int8", target=target, profile=target.runtimes[0], max_length=64
    )
    assert set(artifact.files) == {FILE, FLOAT_FILE}
    assert artifact.engine is not None
    assert [(each.precision, each.onnx, each.engine) for each in artifact.engine.variants] == [
        ("int8", FILE, None),
        ("fp16", FLOAT_FILE, None),
    ]
    assert artifact.engine.shapes.max == (8, 64)
    assert artifact.model_bytes == len(artifact.files[FILE])
    assert "no engine was inspected" in artifact.engine.placement


REFUSED = {
    "dynamic": ("jetson-orin", "int8-dynamic", "each run"),
    "W8A8 on RTX": ("rtx-ada", "int8", "not known to have INT8 products"),
    "FP8 on Ampere": ("rtx-ampere", "fp8", r"8\.6 of rtx-ampere has no FP8"),
    "BF16 on Turing": ("rtx-turing", "bf16", "no bfloat16"),
}


@pytest.mark.parametrize(("name", "precision", "message"), REFUSED.values(), ids=REFUSED)
def test_a_precision_that_the_gpu_lacks(case: Case, name: str, precision: Any, message: str) -> None:
    target = get_target(name)
    with pytest.raises(UnsupportedError, match=message) as caught:
        lower(case.model, QuantPlan(), precision, target=target, profile=target.runtimes[0], max_length=64)
    assert "--precision" in caught.value.hint


def test_a_model_longer_than_the_shapes(case: Case) -> None:
    target = get_target("rtx-ada")
    with pytest.raises(UnsupportedError, match="reads 4096 tokens") as caught:
        lower(case.model, QuantPlan(), "fp16", target=target, profile=target.runtimes[0], max_length=4096)
    assert "--max-length 512" in caught.value.hint


scales = arrays(
    np.float32, st.integers(1, 8), elements=st.floats(2**-24, 100.0, width=32, allow_subnormal=False)
)


@given(scales, st.sampled_from([HALF, ir.DataType.BFLOAT16, ir.DataType.FLOAT]))
def test_scales_are_held_by_their_type(scale: Any, compute: ir.DataType) -> None:
    stored = storable(scale, compute)
    np.testing.assert_array_equal(stored.astype(numpy_type(compute)).astype(np.float32), stored)
    assert (stored > 0).all()
    far = {HALF: 2**-11, ir.DataType.BFLOAT16: 2**-8, ir.DataType.FLOAT: 0.0}[compute]
    assert (np.abs(stored - scale) <= np.maximum(far * scale, 2**-25 if compute == HALF else 0)).all()


@given(scales, st.integers(0, 2**32 - 1))
def test_integers_follow_a_scale_that_had_to_move(scale: Any, seed: int) -> None:
    values = np.random.default_rng(seed).integers(-126, 127, (5, len(scale))).astype(np.int8)
    weight = QWeight(values, scale, axis=1)
    stored = storable_weight(weight, HALF)
    half_step = 0.51 * stored.scale
    kept = np.abs(values) * scale <= 127 * stored.scale
    assert (np.abs(stored.dequantized() - weight.dequantized()) <= half_step + 1e-6 * scale)[kept].all()


def test_fp8_columns_are_exact_to_four_bits() -> None:
    weight = np.random.default_rng(0).normal(0, 0.05, (64, 16)).astype(np.float32)
    found = float8_columns(weight)
    assert found.values.dtype == ml_dtypes.float8_e4m3fn
    dense = found.values.astype(np.float32) * found.scale
    normal = np.abs(weight / found.scale) >= 2.0**-6
    assert (np.abs(dense - weight) <= 2.0**-4 * np.abs(weight) * 1.001)[normal].all()
    assert np.abs(found.values.astype(np.float32)).max(axis=0) == pytest.approx(np.full(16, LARGEST))


def test_the_simulation_rounds_what_is_stored() -> None:
    """1 + 2**-12 is no FP16 number: a sum of two such terms has lost it, and one in FP32 has not."""
    x = ir.Value(
        name="input_ids", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["batch", "sequence"])
    )
    cast = make_node("Cast", [x], name="cast", attributes={"to": int(HALF)}, dtype=HALF)
    graph = ir.Graph([x], [], nodes=[], opset_imports={"": 20}, name="g")
    small = add_initializer(graph, "small", np.float16(2.0**-12))
    one = make_node("Add", [cast.outputs[0], small], name="add", dtype=HALF)
    out = make_node(
        "Cast",
        [one.outputs[0]],
        name="logits",
        attributes={"to": 1},
        outputs=["logits"],
        dtype=ir.DataType.FLOAT,
    )
    graph.extend([cast, one, out])
    graph.outputs.append(out.outputs[0])
    found = SimulatedBackend(serialize(ir.Model(graph, ir_version=10))).run({"input_ids": np.array([[1, 0]])})
    np.testing.assert_array_equal(found["logits"], [[1.0, 2.0**-12]])


def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx_libs", reason="TensorRT-RTX is not installed")


FORMS = {"fp16": "8.6", "int8-weights": "8.0", "fp8": "8.9", "int8": "8.6"}


@pytest.mark.parametrize("precision", FORMS)
def test_an_engine_is_built_without_a_gpu(case: Case, precision: str) -> None:
    rtx()
    quantized = Quantized(case.model, QuantPlan()) if precision == "fp16" else plan_of(case, precision)
    data = typed_graph(quantized.model, quantized.plan, HALF)
    first, second = (build_engine(data, [FORMS[precision]], SHAPES, workspace_mb=64) for _ in range(2))
    assert len(first) > 10_000
    assert first == second


def test_one_engine_for_several_gpus(case: Case) -> None:
    rtx()
    target = get_target("rtx-ada")
    artifact = lower(
        case.model, QuantPlan(), "fp16", target=target, profile=target.runtimes[0], max_length=32
    )
    built = with_engine(artifact, ("8.6", "8.9", "12.0"))
    assert built.engine is not None
    assert built.engine.compute_capabilities == ("8.6", "8.9", "12.0")
    assert built.engine.variants[0].engine == built.main
    assert built.model_bytes == len(built.files[built.main])
    assert FILE in built.files


def test_what_the_builder_refuses(case: Case) -> None:
    rtx()
    data = typed_graph(case.model, QuantPlan(), HALF)
    with pytest.raises(UnsupportedError, match=r"for no GPU of compute capability 8\.7") as caught:
        build_engine(data, ["8.7"], SHAPES, workspace_mb=64)
    assert "SM86" in caught.value.hint
    with pytest.raises(UnsupportedError, match="cannot read the graph"):
        build_engine(b"no graph", ["8.6"], SHAPES, workspace_mb=64)
    float8 = plan_of(case, "fp8")
    with pytest.raises(UnsupportedError, match=r"cannot build for compute capability 7\.5: .*fp8"):
        build_engine(typed_graph(float8.model, float8.plan, HALF), ["7.5"], SHAPES, workspace_mb=64)


def test_the_builds_progress(case: Case) -> None:
    rtx()
    seen: list[tuple[str, int, int]] = []
    options = BuildOptions(SHAPES, 64, ("8.6",))
    trt = packages.load_tensorrt("tensorrt-rtx")
    build(trt, typed_graph(case.model, QuantPlan(), HALF), options, lambda *told: seen.append(told))
    assert seen
    assert all(0 <= done <= steps for _, done, steps in seen)


def test_without_tensorrt_rtx(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("tensorrt_rtx"):
            raise ModuleNotFoundError(name=name)
        return real(name, *rest)

    monkeypatch.setattr(packages.importlib, "import_module", missing)
    with pytest.raises(MissingBackendError, match="tensorrt-rtx") as caught:
        packages.load_tensorrt("tensorrt-rtx")
    assert "bertc[tensorrt-rtx]" in caught.value.hint


def test_int8_embedding_rows(case: Case) -> None:
    tables = quantize_dynamic(case.model, SYMMETRIC).tables
    data = typed_graph(case.model, QuantPlan(tables=tables), HALF)
    stored = ir.from_proto(onnx.load_from_string(data)).graph.initializers
    rows = next(iter(tables.values()))
    assert any(np.array_equal(each.const_value.numpy(), rows.values) for each in stored.values())  # type: ignore[union-attr]
    assert gap(case.reference(), simulated(data, case.feeds)) < 0.05
