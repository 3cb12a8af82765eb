"""Quantized layers against onnxruntime's kernels and against plain integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from compiler.integer.layers import attention, dynamic_param, linear, table_rows, to_integers
from compiler.ir.edit import add_initializer, make_node
from compiler.ir.execute import serialize
from compiler.quantize.plan import AttentionPlan, Decision, QParam, QWeight
from compiler.quantize.weights import quantize_columns, quantize_rows
from targets.errors import InternalError

K, N = 384, 48
RNG = np.random.default_rng(0)
X = RNG.normal(0.3, 1.0, (3, 7, K)).astype(np.float32)
WEIGHT = quantize_columns(RNG.normal(size=(K, N)).astype(np.float32), qmax=64)
BIAS = RNG.normal(size=N).astype(np.float32)
U8 = QParam(0.031, 117, False, False, "test")
S8 = QParam(0.035, 0, True, True, "test")
INT8 = Decision("int8", "test")


def onnxruntime_linear(param: QParam | None, *, bias: bool) -> NDArray[np.float32]:
    import onnxruntime as ort

    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape(X.shape))
    graph = ir.Graph([value], [], nodes=[], opset_imports={"": 21, "com.microsoft": 1})
    weights = [
        add_initializer(graph, "w", WEIGHT.values),
        add_initializer(graph, "w_scale", WEIGHT.scale),
        add_initializer(graph, "w_zero", np.zeros(N, np.int8)),
    ]
    last = [add_initializer(graph, "bias", BIAS)] if bias else []
    op_type, inputs = "DynamicQuantizeMatMul", [value, *weights, *last]
    if param is not None:
        integers = ir.DataType.INT8 if param.signed else ir.DataType.UINT8
        scale = add_initializer(graph, "x_scale", np.float32(param.scale))
        zero = add_initializer(graph, "x_zero", np.asarray(param.zero_point, integers.numpy()))
        rounded = make_node("QuantizeLinear", [value, scale, zero], name="q", dtype=integers)
        graph.append(rounded)
        w, w_scale, w_zero = weights
        op_type = "MatMulIntegerToFloat"
        inputs = [rounded.outputs[0], w, scale, w_scale, zero, w_zero, *last]
    node = make_node(op_type, inputs, name="y", domain="com.microsoft", dtype=ir.DataType.FLOAT)
    graph.append(node)
    graph.outputs.append(node.outputs[0])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    data = serialize(ir.Model(graph, ir_version=10))
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"x": X})[0]
    return found


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("param", [U8, S8, None], ids=["u8", "s8", "dynamic"])
def test_a_linear_layer_is_onnxruntimes(param: QParam | None, bias: bool) -> None:
    """One float32 product and one sum are left, which a fused multiply-add may round once less.

    Half range keeps the kernels of every CPU from saturating.
    """
    own_bias = BIAS if bias else None
    found = linear(X, WEIGHT, param, own_bias, saturating=False)
    np.testing.assert_array_equal(found, linear(X, WEIGHT, param, own_bias, saturating=True))
    wanted = onnxruntime_linear(param, bias=bias)
    largest = float(np.abs(wanted).max())
    assert float(np.abs(found - wanted).max()) <= 2 * np.spacing(np.float32(largest))


def test_the_range_of_zeros_and_of_one_sign() -> None:
    assert dynamic_param(np.zeros((2, 2), np.float32)).scale == 1.0
    above = dynamic_param(np.array([3.0, 255.0], np.float32))
    assert (above.scale, above.zero_point) == (1.0, 0)
    below = dynamic_param(np.array([-255.0, -1.0], np.float32))
    assert (below.scale, below.zero_point) == (1.0, 255)


def test_rounding_is_half_to_even_and_saturates() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, 1e9, -1e9], np.float32)
    assert to_integers(x, QParam(1.0, 10, False, False, "")).tolist() == [10, 12, 12, 10, 255, 0]
    assert to_integers(x, QParam(1.0, 0, True, True, "")).tolist() == [0, 2, 2, 0, 127, -128]


def test_full_range_saturates_and_s8_as_u8() -> None:
    weight = QWeight(np.full((2, 1), 127, np.int8), np.ones(1, np.float32), 1)
    x = np.full((1, 2), 127.0, np.float32)
    for param in (QParam(1.0, 0, True, True, ""), QParam(1.0, 128, False, True, "")):
        assert linear(x, weight, param, None, saturating=False).item() == 2 * 127 * 127
        assert linear(x, weight, param, None, saturating=True).item() == 32767 - 128 * 254


def test_rows_of_a_table() -> None:
    table = quantize_rows(RNG.normal(size=(9, 5)).astype(np.float32))
    ids = np.array([[3, 0], [8, 3]])
    np.testing.assert_array_equal(table_rows(ids, table), table.dequantized()[ids])


def attention_operands() -> tuple[Any, ...]:
    query, key, value = (RNG.normal(size=(2, 3, 5, 8)).astype(np.float32) for _ in range(3))
    mask = np.where(np.arange(5) < 4, 0.0, -30000.0).astype(np.float32)
    params = (QParam(float(np.abs(each).max()) / 127, 0, True, True, "") for each in (query, key, value))
    return query, key, value, mask, AttentionPlan("layer0.attention", INT8, *params)


def test_attention_is_two_integer_products() -> None:
    query, key, value, mask, plan = attention_operands()
    found = attention(query, key, value, mask, scale=0.5, plan=plan, saturating=False)
    q, k, v = (
        np.rint(each / np.float32(param.scale)).astype(int)
        for each, param in ((query, plan.query), (key, plan.key), (value, plan.value))
    )
    for at in np.ndindex(2, 3, 5):
        scores = [sum(int(a) * int(b) for a, b in zip(q[at], k[at[:2]][j], strict=True)) for j in range(5)]
        logits = np.array(scores) * plan.query.scale * plan.key.scale * 0.5 + mask
        powers = np.exp(logits - logits.max())
        steps = np.rint(powers / powers.sum() * 255).astype(int)
        wanted = [sum(int(steps[j]) * int(v[at[:2]][j, c]) for j in range(5)) for c in range(8)]
        np.testing.assert_allclose(found[at], np.array(wanted) / 255 * plan.value.scale, rtol=1e-6)
        assert steps[4] == 0


def test_attention_without_loss_of_pairs_is_the_same() -> None:
    query, key, value, mask, plan = attention_operands()
    small = key / 2
    one, other = (
        attention(query, small, value, mask, scale=1.0, plan=plan, saturating=each) for each in (False, True)
    )
    np.testing.assert_array_equal(one, other)


def test_attention_scores_saturate_with_full_range_keys() -> None:
    _, _, value, _, plan = attention_operands()
    largest = np.full((1, 1, 2, 8), 1.0, np.float32)
    largest[..., 1, :] = 0.9
    param = QParam(1 / 127, 0, True, True, "")
    plan = AttentionPlan("layer0.attention", INT8, param, param, plan.value)
    value = value[:1, :1, :2]
    one, other = (
        attention(largest, largest, value, None, scale=1.0, plan=plan, saturating=each)
        for each in (False, True)
    )
    assert np.abs(one - other).max() > 0.01


def test_a_plan_without_parameters() -> None:
    query, key, value, mask, _ = attention_operands()
    plan = AttentionPlan("layer3.attention", INT8)
    with pytest.raises(InternalError, match=r"layer3\.attention has no parameters"):
        attention(query, key, value, mask, scale=1.0, plan=plan, saturating=False)
