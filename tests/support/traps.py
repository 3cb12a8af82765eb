"""Small quantized graphs, with and without what makes a runtime fall back to float, and their plans."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from compiler.quantize.plan import AttentionPlan, Decision, LinearPlan, QParam, QuantPlan, QWeight

CHANNELS, COLUMNS = 64, 48
INT8 = Decision("int8", "planned")
INPUT = QParam(0.05, 100, False, False, "minmax")
Dims = list[str | int]


def weights(channels: int = CHANNELS) -> QWeight:
    values = (np.arange(channels * COLUMNS) * 7919 % 255 - 127).astype(np.int8).reshape(channels, COLUMNS)
    return QWeight(values, np.full(COLUMNS, 0.01, np.float32), 1)


def linear_plan(count: int = 1, *, channels: int = CHANNELS, static: bool = True) -> QuantPlan:
    """`lin0`, `lin1`, ... as `layer0.lin0`, ..., all of them INT8."""
    weight, param = weights(channels), INPUT if static else None
    return QuantPlan({f"lin{i}": LinearPlan(f"layer0.lin{i}", INT8, weight, param) for i in range(count)})


def attention_plan() -> QuantPlan:
    return QuantPlan(attentions={"attention": AttentionPlan("layer0.attention", INT8)})


@dataclass
class Qdq:
    """An ONNX file of QuantizeLinear and DequantizeLinear pairs."""

    nodes: list[NodeProto] = field(default_factory=list)
    tensors: list[TensorProto] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)

    def add(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def tensor(self, name: str, array: Any) -> str:
        self.tensors.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def quantized(self, value: str, dtype: type) -> str:
        zero = 0 if dtype is np.int8 else 128
        parameters = [self.tensor(f"{value}_s", np.float32(0.05)), self.tensor(f"{value}_z", dtype(zero))]
        integers = self.add("QuantizeLinear", [value, *parameters], f"{value}_q")
        return self.add("DequantizeLinear", [integers, *parameters], f"{value}_dq")

    def weight(self, name: str) -> str:
        weight = weights()
        parameters = [
            self.tensor(f"{name}_w", weight.values),
            self.tensor(f"{name}_ws", weight.scale),
            self.tensor(f"{name}_wz", np.zeros(COLUMNS, np.int8)),
        ]
        return self.add("DequantizeLinear", parameters, f"{name}_wd", axis=1)

    def float_bias(self, name: str) -> str:
        return self.tensor(f"{name}_b", np.linspace(-1, 1, COLUMNS, dtype=np.float32))

    def int32_bias(self, name: str) -> str:
        parameters = [
            self.tensor(f"{name}_b", np.arange(COLUMNS, dtype=np.int32)),
            self.tensor(f"{name}_bs", np.full(COLUMNS, 0.05 * 0.01, np.float32)),
        ]
        return self.add("DequantizeLinear", parameters, f"{name}_bd", axis=0)

    def serialize(self, dims: Dims) -> bytes:
        graph = helper.make_graph(
            self.nodes,
            "traps",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self.outputs],
            self.tensors,
        )
        opsets = [helper.make_opsetid("", 21)]
        model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return bytes(model.SerializeToString())


def matmuls(dims: Dims, dtype: type = np.uint8, count: int = 1) -> bytes:
    """`count` layers MatMul + Add that read one quantized input."""
    file = Qdq()
    x = file.quantized("x", dtype)
    for i in range(count):
        product = file.add("MatMul", [x, file.weight(f"lin{i}")], f"lin{i}")
        file.outputs.append(file.add("Add", [product, file.float_bias(f"lin{i}")], f"lin{i}_added"))
    return file.serialize(dims)


def gemm(*, int32_bias: bool, quantized_output: bool) -> bytes:
    """A pooler: a Gemm of one token."""
    file = Qdq()
    bias = file.int32_bias("lin0") if int32_bias else file.float_bias("lin0")
    out = file.add("Gemm", [file.quantized("x", np.uint8), file.weight("lin0"), bias], "lin0")
    file.outputs.append(file.quantized(out, np.uint8) if quantized_output else out)
    return file.serialize(["batch", CHANNELS])


def fake_quantize(value: Any, low: float, high: float) -> Any:
    from openvino import opset13 as ops

    bounds = [ops.constant(np.float32(each)) for each in (low, high)]
    return ops.fake_quantize(value, *bounds, *bounds, 256)


def openvino_linear(form: str = "s8", *, channels: int = CHANNELS, quantized: bool = True) -> Any:
    """One layer with weights stored `form`: "s8", "u8", or "u8 around 128"."""
    import openvino as ov
    from openvino import opset13 as ops

    weight = weights(channels)
    values = weight.values.T
    stored = values if form == "s8" else (values.astype(np.int16) + 128).astype(np.uint8)
    dense = ops.convert(ops.constant(np.ascontiguousarray(stored)), "f32")
    if form == "u8 around 128":
        dense = ops.subtract(dense, ops.constant(np.float32(128)))
    x = ops.parameter([-1, -1], np.int64, name="x")
    x.output(0).set_names({"x"})
    spread = np.linspace(-2.9, 3.1, channels, dtype=np.float32)
    ids = ops.unsqueeze(ops.convert(x, "f32"), ops.constant(np.int64(2)))
    entering = ops.multiply(ids, ops.constant(spread))
    if quantized:
        entering = fake_quantize(entering, *INPUT.bounds)
    product = ops.matmul(entering, ops.multiply(dense, ops.constant(weight.scale[:, None])), False, True)
    product.set_friendly_name("lin0")
    result = ops.add(product, ops.constant(np.ones((1, 1, COLUMNS), np.float32)))
    result.set_friendly_name("lin0_added")
    return ov.Model([result], [x], "traps")


def openvino_attention(form: str, *, heads: int = 2, size: int = 16) -> Any:
    """Both products of an attention: operands "s8", "asymmetric", or explicit "u8 around 128"."""
    import openvino as ov
    from openvino import opset13 as ops

    operands = [ops.parameter([-1, -1, heads, size], np.float32, name=name) for name in "qkv"]

    def transposed(value: Any, *order: int) -> Any:
        return ops.transpose(value, ops.constant(np.array(order, np.int64)))

    query, key, value = (_operand(each, form) for each in operands)
    scores = ops.matmul(transposed(query, 0, 2, 1, 3), transposed(key, 0, 2, 3, 1), False, False)
    scores.set_friendly_name("attention_scores")
    probabilities = fake_quantize(ops.softmax(scores, -1), 0.0, 1.0)
    context = ops.matmul(probabilities, transposed(value, 0, 2, 1, 3), False, False)
    context.set_friendly_name("attention_context")
    return ov.Model([transposed(context, 0, 2, 1, 3)], operands, "traps")


def _operand(value: Any, form: str) -> Any:
    from openvino import opset13 as ops

    if form == "s8":
        return fake_quantize(value, -128 * 0.03, 127 * 0.03)
    if form == "asymmetric":
        return fake_quantize(value, -3.0, 4.0)
    inside = [ops.constant(np.float32(each)) for each in (-128 * 0.03, 127 * 0.03)]
    outside = [ops.constant(np.float32(each)) for each in (0, 255)]
    integers = ops.convert(ops.fake_quantize(value, *inside, *outside, 256), "u8")
    centred = ops.subtract(ops.convert(integers, "f32"), ops.constant(np.float32(128)))
    return ops.multiply(centred, ops.constant(np.float32(0.03)))
