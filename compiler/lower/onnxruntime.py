"""Lowering to onnxruntime's CPU kernels."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from compiler.ir.attention import to_multi_head_attention
from compiler.ir.edit import (
    add_initializer,
    constant,
    make_node,
    op,
    produced_by,
    replace_node,
    replace_value,
    sweep,
)
from compiler.ir.execute import clone, serialize
from compiler.ir.linear import Linear, linears_of
from compiler.lower.artifact import Artifact
from compiler.lower.biases import lower_biases
from compiler.lower.clean import strip
from compiler.lower.onnxruntime_census import int8_name, read_census
from compiler.lower.tables import lower_tables
from compiler.quantize.plan import LinearPlan, QParam, QuantPlan, QWeight
from targets.errors import UnsupportedError
from targets.spec import Precision

FILE: Final = "model/model.onnx"
MINIMUM_VERSION: Final = "1.22"
OPSET: Final = 21
_CONTRIB: Final = "com.microsoft"
_SMALLEST_HALF: Final = 1024


def lower(model: ir.Model, plan: QuantPlan, precision: Precision) -> Artifact:
    """Write a model that onnxruntime runs best on a CPU.

    Linear layers become com.microsoft MatMulIntegerToFloat on U8 activations and S8 columns, with the
    float bias inside (DynamicQuantizeMatMul where the plan has no input parameters); attention becomes
    MultiHeadAttention; residual additions stay apart from LayerNormalization; embedding tables stay
    INT8 rows. Emitting the fused operators, rather than QuantizeLinear and DequantizeLinear pairs,
    leaves nothing to a fusion that may not fire.

    Args:
        model: the float IR; it is not changed.
        plan: from the quantizer, empty for a float precision.
        precision: what the bundle is called; "fp16" stores weights in half precision, and
            onnxruntime's CPU kernels compute on them in FP32.

    Raises:
        UnsupportedError: a precision that onnxruntime's CPU kernels lack, or a product planned as INT8
            that onnxruntime would run in float.
    """
    if precision == "bf16":
        raise UnsupportedError(
            "onnxruntime has no bf16 kernels for this CPU",
            "use --runtime openvino, or --precision fp16 or fp32",
        )
    copy = clone(model)
    lower_biases(copy, plan)
    _lower_linears(copy, plan)
    lower_tables(copy, plan.tables)
    to_multi_head_attention(copy)
    _keep_layer_norms(copy.graph)
    if precision == "fp16":
        _store_half(copy)
    sweep(copy.graph)
    copy.opset_imports[""] = OPSET
    copy.opset_imports[_CONTRIB] = 1
    copy.ir_version = 10
    copy.producer_name, copy.producer_version = "bertc", None
    strip(copy)
    data = serialize(copy)
    census = read_census(data, plan)
    census.require_int8("onnxruntime")
    return Artifact("onnxruntime", FILE, {FILE: data}, MINIMUM_VERSION, {}, census, precision)


def _lower_linears(model: ir.Model, plan: QuantPlan) -> None:
    quantized: dict[ir.Value, list[ir.Value]] = {}
    for linear in linears_of(model.graph):
        decided = plan.linears.get(linear.name)
        if decided is None or decided.decision.compute != "int8" or decided.weight is None:
            continue
        node = _linear(model.graph, linear, decided, decided.weight, quantized)
        replace_value(linear.output, node.outputs[0])
    sweep(model.graph)


def _linear(
    graph: ir.Graph,
    linear: Linear,
    decided: LinearPlan,
    weight: QWeight,
    quantized: dict[ir.Value, list[ir.Value]],
) -> ir.Node:
    values = add_initializer(graph, f"{linear.name}_w", weight.values)
    scale = add_initializer(graph, f"{linear.name}_w_scale", weight.scale)
    zero = add_initializer(graph, f"{linear.name}_w_zero", np.zeros_like(weight.scale, np.int8))
    bias = linear.bias_value
    op_type, inputs, before = "DynamicQuantizeMatMul", [linear.input, values, scale, zero], linear.matmul
    if decided.input is not None:
        if linear.input not in quantized:
            quantized[linear.input] = _quantize(graph, linear.input, decided.input, linear.matmul)
        x, x_scale, x_zero = quantized[linear.input]
        op_type, inputs = "MatMulIntegerToFloat", [x, values, x_scale, scale, x_zero, zero]
    out = linear.output
    node = make_node(
        op_type,
        [*inputs, *([bias] if bias is not None else [])],
        name=int8_name(linear.name),
        domain=_CONTRIB,
        dtype=out.dtype,
        shape=out.shape,
    )
    graph.insert_before(before, [node])
    return node


def _quantize(graph: ir.Graph, value: ir.Value, param: QParam, before: ir.Node) -> list[ir.Value]:
    dtype = np.int8 if param.signed else np.uint8
    scale = add_initializer(graph, f"{value.name}_scale", np.float32(param.scale))
    zero = add_initializer(graph, f"{value.name}_zero", np.asarray(param.zero_point, dtype))
    kind = ir.DataType.INT8 if param.signed else ir.DataType.UINT8
    node = make_node(
        "QuantizeLinear", [value, scale, zero], name=f"{value.name}_quantize", dtype=kind, shape=value.shape
    )
    graph.insert_before(before, [node])
    return [node.outputs[0], scale, zero]


def _keep_layer_norms(graph: ir.Graph) -> None:
    """Residual additions as Sum, which onnxruntime does not fuse into SkipLayerNormalization.

    That operator's CPU kernel works element by element: at [8, 128, 384] it took 5 times as long as the
    addition and LayerNormalization's vectorized kernel together (onnxruntime 1.32).
    """
    for norm in [each for each in graph if op(each, "LayerNormalization")]:
        add = produced_by(norm.inputs[0], "Add")
        if add is None:
            continue
        out = add.outputs[0]
        total = make_node("Sum", list(add.inputs), name=str(add.name), dtype=out.dtype, shape=out.shape)
        replace_node(add, [total], total.outputs[0])


def _store_half(model: ir.Model) -> None:
    graph = model.graph
    for name in list(graph.initializers):
        value = graph.initializers[name]
        array = constant(value)
        if array is None or array.dtype != np.float32 or array.size < _SMALLEST_HALF:
            continue
        limit = np.finfo(np.float16).max
        half = add_initializer(graph, f"{name}_half", np.clip(array, -limit, limit).astype(np.float16))
        cast = make_node(
            "Cast",
            [half],
            name=f"{name}_cast",
            attributes={"to": int(ir.DataType.FLOAT)},
            dtype=ir.DataType.FLOAT,
            shape=value.shape,
        )
        graph.insert_before(next(iter(graph)), [cast])
        replace_value(value, cast.outputs[0])
