"""Embedding tables as INT8 rows behind a DequantizeLinear, all that TensorRT lets read INT8 constants."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from compiler.ir.edit import add_initializer, make_node, replace_node
from compiler.quantize.plan import QWeight

_Parts = tuple[ir.Value, ir.Value]


def write_tables(model: ir.Model, tables: Mapping[str, QWeight]) -> None:
    """`Gather(T, ids)` becomes `Gather(DQ(T8, 1), ids) * Gather(scale, ids)`, in place.

    The pair's scale is 1 for the whole table, so that DequantizeLinear and Gather commute and a builder may
    gather INT8 rows before it dequantizes them; a scale per row there would dequantize the whole table on
    each run.

    Args:
        model: a float graph.
        tables: INT8 rows by the Gather's name; Gathers of one table share it.
    """
    made: dict[int, _Parts] = {}
    for node in [each for each in model.graph if str(each.name) in tables]:
        rows = tables[str(node.name)]
        if id(rows) not in made:
            made[id(rows)] = _constants(model.graph, node, rows)
        _rewrite(node, *made[id(rows)])


def _constants(graph: ir.Graph, node: ir.Node, rows: QWeight) -> _Parts:
    stem = "table" if node.inputs[0] is None else str(node.inputs[0].name)
    values = add_initializer(graph, f"{stem}_int8", rows.values)
    one = add_initializer(graph, f"{stem}_one", np.float32(1.0))
    zero = add_initializer(graph, f"{stem}_zero", np.int8(0))
    table = make_node(
        "DequantizeLinear",
        [values, one, zero],
        name=f"{stem}_integers",
        dtype=ir.DataType.FLOAT,
        shape=ir.Shape(rows.values.shape),
    )
    graph.insert_before(node, [table])
    return table.outputs[0], add_initializer(graph, f"{stem}_scale", rows.scale[:, None])


def _rewrite(node: ir.Node, table: ir.Value, scales: ir.Value) -> None:
    name, out, ids = str(node.name), node.outputs[0], node.inputs[1]
    row = make_node(
        "Gather", [table, ids], name=f"{name}_row", attributes={"axis": 0}, dtype=out.dtype, shape=out.shape
    )
    scale = make_node(
        "Gather", [scales, ids], name=f"{name}_row_scale", attributes={"axis": 0}, dtype=out.dtype
    )
    both = [row.outputs[0], scale.outputs[0]]
    result = make_node("Mul", both, name=f"{name}_dequantized", dtype=out.dtype, shape=out.shape)
    replace_node(node, [row, scale, result], result.outputs[0])
