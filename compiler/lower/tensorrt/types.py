"""One float type for every value of a graph, with casts where it must change: strong typing."""

from __future__ import annotations

from typing import Final

import numpy as np
import onnx_ir as ir

from compiler.ir.edit import add_initializer, constant, graph_of, make_node, op, replace_value
from compiler.lower.tensorrt.scales import numpy_type

WIDE: Final = (
    "ReduceSum",
    "ReduceMean",
    "ReduceL2",
    "ReduceMax",
    "Pow",
    "Sqrt",
    "Reciprocal",
    "Div",
    "Clip",
    "Max",
    "CumSum",
)
"""Operators of heads (pooling, normalization) whose sums and squares may leave FP16: they stay in FP32."""
_FLOATS: Final = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_Casts = dict[tuple[ir.Value, ir.DataType], ir.Value]


def set_types(model: ir.Model, compute: ir.DataType) -> None:
    """Compute in `compute` but for the operators of `WIDE`, in place; the graph's outputs stay FP32.

    Args:
        model: a graph whose float values are all FP32.
        compute: FLOAT, FLOAT16 or BFLOAT16.
    """
    casts: _Casts = {}
    for node in [each for each in model.graph if op(each, "CumSum")]:
        _count_in_float(node)
    for node in list(model.graph):
        wanted = ir.DataType.FLOAT if op(node, *WIDE) else compute
        for place, value in enumerate(node.inputs):
            if value is not None and value.dtype in _FLOATS and value.dtype != wanted:
                node.replace_input_with(place, _as(value, wanted, node, casts))
        if op(node, "Cast") and ir.DataType(node.attributes["to"].as_int()) in _FLOATS:
            node.attributes["to"] = ir.AttrInt64("to", int(wanted))
        for out in node.outputs:
            if out.dtype in _FLOATS:
                out.type = ir.TensorType(wanted)
    for value in list(model.graph.outputs):
        if value.dtype in _FLOATS and value.dtype != ir.DataType.FLOAT:
            _widen_output(value)


def _count_in_float(node: ir.Node) -> None:
    """A running sum of integers, as position ids are made of, in the floats that TensorRT 10 sums."""
    value, out = node.inputs[0], node.outputs[0]
    kind = out.dtype
    if value is None or kind is None or kind in _FLOATS:
        return
    graph = graph_of(node)
    before = make_node(
        "Cast",
        [value],
        name=f"{node.name}_float",
        attributes={"to": int(ir.DataType.FLOAT)},
        dtype=ir.DataType.FLOAT,
        shape=value.shape,
    )
    after = make_node(
        "Cast", [out], name=f"{node.name}_integer", attributes={"to": int(kind)}, dtype=kind, shape=out.shape
    )
    graph.insert_before(node, [before])
    graph.insert_after(node, [after])
    replace_value(out, after.outputs[0])
    after.replace_input_with(0, out)
    node.replace_input_with(0, before.outputs[0])
    out.type = ir.TensorType(ir.DataType.FLOAT)


def _as(value: ir.Value, wanted: ir.DataType, before: ir.Node, casts: _Casts) -> ir.Value:
    known = casts.get((value, wanted))
    if known is None:
        known = casts[value, wanted] = _converted(value, wanted, before)
    return known


def _converted(value: ir.Value, wanted: ir.DataType, before: ir.Node) -> ir.Value:
    graph = graph_of(before)
    array = constant(value)
    if array is not None:
        kind = numpy_type(wanted)
        limit = np.float32(np.finfo(np.float16).max) if wanted == ir.DataType.FLOAT16 else np.float32(np.inf)
        return add_initializer(graph, f"{value.name}_half", np.clip(array, -limit, limit).astype(kind))
    node = make_node(
        "Cast",
        [value],
        name=f"{value.name}_to_{wanted.name.lower()}",
        attributes={"to": int(wanted)},
        dtype=wanted,
        shape=value.shape,
    )
    graph.insert_before(before, [node])
    return node.outputs[0]


def _widen_output(value: ir.Value) -> None:
    producer = value.producer()
    if producer is None:
        return
    node = make_node(
        "Cast",
        [value],
        name=f"{value.name}_to_float",
        attributes={"to": int(ir.DataType.FLOAT)},
        dtype=ir.DataType.FLOAT,
        shape=value.shape,
    )
    graph_of(producer).append(node)
    out = node.outputs[0]
    readers = [(use.node, use.idx) for use in value.uses() if use.node is not node]
    replace_value(value, out)
    node.replace_input_with(0, value)
    for reader, place in readers:
        reader.replace_input_with(place, value)
