"""The last layer on the CLS row alone, where the head reads nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.ir.blocks import AttentionBlock
from compiler.ir.edit import add_initializer, constant, make_node, only_consumer, op, sweep
from compiler.ir.encoder import EncoderGraph, EncoderLayer
from compiler.ir.linear import Linear
from compiler.ir.mask import mask_source
from compiler.passes.base import Declined, Pass, PassResult


@dataclass(frozen=True)
class ClsOnlyLastLayer(Pass):
    """Queries, output projection and FFN of the last layer run on row 0 of the sequence only.

    Keys and values still see every row, so what the head reads is unchanged. For a classifier of L
    layers this saves about 1/L of all but the key and value projections.
    """

    def run(self, model: ir.Model) -> PassResult:
        """Rewrite the last layer if its result is read through row 0 alone."""
        encoder = EncoderGraph.find(model)
        if not encoder.layers:
            return PassResult(False, declined=(Declined("encoder", "no encoder layer was found"),))
        layer = encoder.layers[-1]
        attention = layer.attention
        if attention is None:
            declined = Declined(f"layer{layer.index}", "the last layer has no attention")
            return PassResult(False, declined=(declined,))
        reason = _objection(layer, attention)
        if reason is not None:
            return PassResult(False, declined=(Declined(str(attention.node.name), reason),))
        _rewrite(model.graph, layer, attention)
        sweep(model.graph)
        return PassResult(True, {"layer": 1})


def _objection(layer: EncoderLayer, attention: AttentionBlock) -> str | None:
    if layer.output.is_graph_output():
        return "every row of the last layer leaves the graph"
    if not all(_reads_row_zero(use.node) for use in layer.output.uses()):
        return "the head reads more than the CLS row"
    if layer.output.shape is not None and layer.output.shape[1] == 1:
        return "it runs on one row already"
    query, node = attention.query, attention.node
    if query is None or query.input is not layer.input:
        return "its queries are not a projection of the layer's input"
    if query.output is not node.inputs[0] or only_consumer(query.output) is None:
        return "its queries are not projected on their own"
    if any(each is not None and each.input is not layer.input for each in (attention.key, attention.value)):
        return "its keys and values do not see the layer's input"
    if any(value.is_graph_output() for value in _changed(layer, query)):
        return "a value inside the last layer leaves the graph"
    if len(node.inputs) > 3 and mask_source(node.inputs[3]) is None:
        return "its mask depends on the query's position"
    return None


def _reads_row_zero(node: ir.Node) -> bool:
    if op(node, "Gather"):
        axis, index = node.attributes.get("axis"), constant(node.inputs[1])
        return (
            axis is not None
            and axis.as_int() == 1
            and index is not None
            and index.size == 1
            and int(index.item()) == 0
        )
    if op(node, "Slice"):
        parts = [constant(each) for each in node.inputs[1:4]]
        return all(p is not None and p.size == 1 for p in parts) and [
            int(p.item()) for p in parts if p is not None
        ] == [0, 1, 1]
    return False


def _changed(layer: EncoderLayer, query: Linear) -> list[ir.Value]:
    """Every value made from the queries, up to the layer's output and wherever else they lead."""
    stack, seen = [query.matmul], dict.fromkeys([query.matmul])
    while stack:
        readers = [use.node for out in stack.pop().outputs if out is not layer.output for use in out.uses()]
        stack += [each for each in dict.fromkeys(readers) if each not in seen]
        seen.update(dict.fromkeys(readers))
    return [out for node in seen for out in node.outputs if out is not layer.output]


def _rewrite(graph: ir.Graph, layer: EncoderLayer, attention: AttentionBlock) -> None:
    source, query = layer.input, attention.query
    if query is None:
        return
    zero = add_initializer(graph, "cls_row", np.array([0], np.int64))
    shape = None if source.shape is None else ir.Shape([source.shape[0], 1, source.shape[2]])
    pick = make_node(
        "Gather",
        [source, zero],
        name="cls_row_of_last_layer",
        attributes={"axis": 1},
        dtype=source.dtype,
        shape=shape,
    )
    graph.insert_before(query.matmul, [pick])
    query.matmul.replace_input_with(0, pick.outputs[0])
    residual = attention.residual
    residual.replace_input_with(list(residual.inputs).index(source), pick.outputs[0])
    for value in [*_changed(layer, query), layer.output]:
        if value.shape is not None and len(value.shape) == 3:
            value.shape = ir.Shape([value.shape[0], 1, value.shape[2]])
