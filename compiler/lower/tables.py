"""Embedding tables as INT8 rows: gather integers and scales, then multiply."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from compiler.ir.edit import add_initializer, make_node, replace_node
from compiler.quantize.plan import QWeight


def lower_tables(model: ir.Model, tables: Mapping[str, QWeight]) -> None:
    """`Gather(T, ids)` becomes `Cast(Gather(T8, ids)) * Gather(scale, ids)`, in place.

    No runtime folds this back into a float table, so the rows stay INT8 on disk and in memory.
    """
    graph = model.graph
    made: dict[int, tuple[ir.Value, ir.Value]] = {}
    for node in [each for each in graph if str(each.name) in tables]:
        rows = tables[str(node.name)]
        table = node.inputs[0]
        if id(rows) not in made:
            stem = "table" if table is None else str(table.name)
            values = add_initializer(graph, f"{stem}_int8", rows.values)
            made[id(rows)] = values, add_initializer(graph, f"{stem}_scale", rows.scale[:, None])
        values, scales = made[id(rows)]
        _rewrite(node, values, scales)


def _rewrite(node: ir.Node, values: ir.Value, scales: ir.Value) -> None:
    name, out = str(node.name), node.outputs[0]
    ids = node.inputs[1]
    row = make_node(
        "Gather",
        [values, ids],
        name=f"{name}_row",
        attributes={"axis": 0},
        dtype=ir.DataType.INT8,
        shape=out.shape,
    )
    scale = make_node(
        "Gather", [scales, ids], name=f"{name}_row_scale", attributes={"axis": 0}, dtype=out.dtype
    )
    cast = make_node(
        "Cast",
        [row.outputs[0]],
        name=f"{name}_cast",
        attributes={"to": int(ir.DataType.FLOAT)},
        dtype=out.dtype,
        shape=out.shape,
    )
    result = make_node(
        "Mul",
        [cast.outputs[0], scale.outputs[0]],
        name=f"{name}_dequantized",
        dtype=out.dtype,
        shape=out.shape,
    )
    replace_node(node, [row, scale, cast, result], result.outputs[0])
