"""The query, key and value projections of one input as one product."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import add_initializer, like, make_node, op, replace_value, sweep
from compiler.ir.linear import Linear, linear_making
from compiler.passes.base import Pass, PassResult


@dataclass(frozen=True)
class FuseQkv(Pass):
    """`x [Wq | Wk | Wv] + [bq | bk | bv]`, then Split: one product where there were three.

    Projections that read another input (the queries of a CLS-only last layer) stay on their own.
    """

    def run(self, model: ir.Model) -> PassResult:
        """Fuse around every Attention."""
        counts = {"qkv": 0, "pair": 0}
        for node in [each for each in model.graph if op(each, "Attention")]:
            found = (linear_making(value) for value in node.inputs[:3])
            linears = {each.matmul: each for each in found if each is not None}
            for group in _groups(list(linears.values())):
                _fuse(model.graph, group)
                counts["qkv" if len(group) == 3 else "pair"] += 1
        removed = sweep(model.graph)
        return PassResult(any(counts.values()) or removed > 0, counts)


def _groups(linears: list[Linear]) -> list[list[Linear]]:
    by_input: dict[ir.Value, list[Linear]] = {}
    for each in linears:
        by_input.setdefault(each.input, []).append(each)
    return [group for group in by_input.values() if len(group) > 1]


def _fuse(graph: ir.Graph, group: list[Linear]) -> None:
    first = min(group, key=lambda each: _position(graph, each.matmul))
    arrays = [each.weight_array for each in group]
    widths = [int(array.shape[1]) for array in arrays]
    stem = f"{first.matmul.name}_fused"
    weight = add_initializer(graph, f"{stem}_weight", np.concatenate(arrays, axis=1))
    shape, dtype = like(first.output, last=sum(widths)), ir.DataType.FLOAT
    nodes = [make_node("MatMul", [first.input, weight], name=stem, dtype=dtype, shape=shape)]
    if any(each.add is not None for each in group):
        bias = add_initializer(graph, f"{stem}_bias", np.concatenate([_bias(each) for each in group]))
        inputs = [nodes[0].outputs[0], bias]
        nodes.append(make_node("Add", inputs, name=f"{stem}_add", dtype=dtype, shape=shape))
    sizes = add_initializer(graph, f"{stem}_widths", np.array(widths, np.int64))
    outputs = [f"{stem}_part{index}" for index in range(len(group))]
    split = make_node(
        "Split", [nodes[-1].outputs[0], sizes], name=f"{stem}_split", attributes={"axis": -1}, outputs=outputs
    )
    for out, each in zip(split.outputs, group, strict=True):
        out.type, out.shape = ir.TensorType(dtype), each.output.shape
    graph.insert_before(first.matmul, [*nodes, split])
    for out, each in zip(split.outputs, group, strict=True):
        replace_value(each.output, out)


def _bias(linear: Linear) -> NDArray[np.float32]:
    bias = linear.bias_array
    return np.zeros(linear.weight_array.shape[1], np.float32) if bias is None else bias


def _position(graph: ir.Graph, node: ir.Node) -> int:
    return next(index for index, each in enumerate(graph) if each is node)
