"""A plan as QuantizeLinear and DequantizeLinear pairs, as TensorRT reads them."""

from __future__ import annotations

from typing import Final

import ml_dtypes
import numpy as np
import onnx_ir as ir

from compiler.ir.edit import add_initializer, make_node, op, produced_by
from compiler.ir.linear import Linear, linears_of
from compiler.lower.tensorrt.scales import storable, storable_weight
from compiler.lower.tensorrt.tables import write_tables
from compiler.quantize.plan import AttentionPlan, LinearPlan, QParam, QuantPlan, QWeight
from targets.errors import InternalError

PROBABILITIES: Final = QParam(1.0 / 127.0, 0, True, True, "softmax")
"""Of the softmax: [0, 1] around zero, since TensorRT takes no zero point."""
_TYPES: Final = {
    "int8": (ir.DataType.INT8, np.int8),
    "fp8": (ir.DataType.FLOAT8E4M3FN, ml_dtypes.float8_e4m3fn),
}
Pairs = dict[tuple[ir.Value, QParam], ir.Value]


def write_plan(model: ir.Model, plan: QuantPlan, compute: ir.DataType, *, residual: bool) -> None:
    """Put every quantization of a plan into a float graph, in place.

    Weights become constants behind a DequantizeLinear with a scale per column (axis 1); activations go
    through one pair, shared by all that read it; embedding tables stay INT8 rows. Outputs are not
    quantized, as TensorRT advises.

    Args:
        model: a float graph whose attention is written out (`compiler.ir.attention.to_primitives`).
        plan: static, weight-only (no input parameters) or FP8.
        compute: the float type, in which scales are stored.
        residual: whether the residual stream is added as it was quantized for the products that read it,
            so that TensorRT may fuse the addition into an INT8 product.

    Raises:
        InternalError: a zero point other than 0, which TensorRT has none of.
    """
    pairs: Pairs = {}
    for linear in linears_of(model.graph):
        decided = plan.linears.get(linear.name)
        if decided is not None and decided.decision.compute != "float" and decided.weight is not None:
            _linear(model.graph, linear, decided, decided.weight, compute, pairs)
    for name, attention in plan.attentions.items():
        if attention.decision.compute != "float":
            _attention(model.graph, name, attention, compute, pairs)
    write_tables(model, {name: storable_weight(rows, compute) for name, rows in plan.tables.items()})
    if residual:
        _residuals(model.graph, pairs)


def _linear(
    graph: ir.Graph,
    linear: Linear,
    plan: LinearPlan,
    weight: QWeight,
    compute: ir.DataType,
    pairs: Pairs,
) -> None:
    kind = plan.decision.compute
    stored = storable_weight(weight, compute)
    constant = add_initializer(graph, f"{linear.name}_w", stored.values)
    scale = add_initializer(graph, f"{linear.name}_w_scale", stored.scale)
    zero = add_initializer(graph, f"{linear.name}_w_zero", np.zeros(stored.scale.shape, _TYPES[kind][1]))
    node = make_node(
        "DequantizeLinear",
        [constant, scale, zero],
        name=f"{linear.name}_w_dequantize",
        attributes={"axis": 1},
        dtype=ir.DataType.FLOAT,
        shape=ir.Shape(stored.values.shape),
    )
    graph.insert_before(linear.matmul, [node])
    linear.matmul.replace_input_with(1, node.outputs[0])
    if plan.input is not None:
        pair = _pair(graph, linear.input, plan.input, kind, compute, linear.matmul, pairs)
        linear.matmul.replace_input_with(0, pair)


def _attention(graph: ir.Graph, name: str, plan: AttentionPlan, compute: ir.DataType, pairs: Pairs) -> None:
    nodes = {str(node.name): node for node in graph}
    scores, context = nodes.get(f"{name}_scores"), nodes.get(f"{name}_context")
    if scores is None or context is None:
        raise InternalError(f"{name} was not written out before its plan")
    operands = (
        (scores, 0, plan.query),
        (scores, 1, plan.key),
        (context, 0, PROBABILITIES),
        (context, 1, plan.value),
    )
    for node, place, param in operands:
        value = node.inputs[place]
        if param is not None and value is not None:
            node.replace_input_with(place, _pair(graph, value, param, "int8", compute, node, pairs))


def _pair(
    graph: ir.Graph,
    value: ir.Value,
    param: QParam,
    kind: str,
    compute: ir.DataType,
    before: ir.Node,
    pairs: Pairs,
) -> ir.Value:
    known = pairs.get((value, param))
    if known is not None:
        return known
    if param.zero_point != 0:
        raise InternalError(f"{value.name} has zero point {param.zero_point}, which TensorRT does not take")
    dtype, array = _TYPES[kind]
    scale = add_initializer(graph, f"{value.name}_scale", storable(np.float32(param.scale), compute))
    zero = add_initializer(graph, f"{value.name}_zero", np.zeros((), array))
    quantize = make_node(
        "QuantizeLinear", [value, scale, zero], name=f"{value.name}_quantize", dtype=dtype, shape=value.shape
    )
    dequantize = make_node(
        "DequantizeLinear",
        [quantize.outputs[0], scale, zero],
        name=f"{value.name}_dequantize",
        dtype=ir.DataType.FLOAT,
        shape=value.shape,
    )
    graph.insert_before(before, [quantize, dequantize])
    pairs[value, param] = dequantize.outputs[0]
    return dequantize.outputs[0]


def _residuals(graph: ir.Graph, pairs: Pairs) -> None:
    """Let the addition before LayerNormalization read the stream as a product reads it."""
    dequantized: dict[ir.Value, ir.Value] = {}
    for (value, _), out in pairs.items():
        dequantized.setdefault(value, out)
    for norm in [each for each in graph if op(each, "LayerNormalization")]:
        add = produced_by(norm.inputs[0], "Add")
        for place, stream in enumerate(() if add is None else add.inputs):
            if add is None or stream is None or produced_by(stream, "LayerNormalization") is None:
                continue
            if stream in dequantized:
                add.replace_input_with(place, dequantized[stream])
