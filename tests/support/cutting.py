"""Cuts and masks of channel groups, each the other's check."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import add_initializer, attribute_int, constant, op, static_dim
from compiler.ir.execute import clone
from compiler.prune.axes import ChannelGroup, Cut, find_groups

Kept = NDArray[np.bool_]
"""[units]: what stays."""


def cut_group(model: ir.Model, index: int, kept: Kept) -> ir.Model:
    """A copy without the units of a group that are not kept: every axis in `cuts`, and the sizes in nodes."""
    copy = clone(model)
    group = find_groups(copy)[index]
    for each in group.cuts:
        if each.node is not None:
            array = constant(each.node.inputs[each.position])
            assert array is not None
            sliced = np.compress(_stays(each, kept), array, each.axis)
            value = add_initializer(copy.graph, f"cut_{each.node.name}_{each.position}", sliced)
            each.node.replace_input_with(each.position, value)
    for attention in group.attentions:
        for name in ("q_num_heads", "kv_num_heads"):
            heads = attribute_int(attention, name, 0) * int(kept.sum()) // len(kept)
            attention.attributes[name] = ir.AttrInt64(name, heads)
    _resize(copy.graph, group, kept)
    return copy


def mask_group(model: ir.Model, index: int, kept: Kept) -> ir.Model:
    """A copy whose readers' rows of what is not kept are zero."""
    copy = clone(model)
    group = find_groups(copy)[index]
    for each in group.cuts:
        if each.node in group.readers and each.axis == 0 and each.position == 1:
            array = constant(each.node.inputs[1])
            assert array is not None
            masked = array * _stays(each, kept)[:, None]
            value = add_initializer(copy.graph, f"masked_{each.node.name}", masked.astype(np.float32))
            each.node.replace_input_with(1, value)
    return copy


def _stays(cut: Cut, kept: Kept) -> Kept:
    return np.where(cut.units < 0, True, kept[np.maximum(cut.units, 0)])


def _resize(graph: ir.Graph, group: ChannelGroup, kept: Kept) -> None:
    """Sizes that nodes hold as numbers: the shape of a Reshape, the pieces of a Split."""
    left = {
        (each.value, each.axis): int(_stays(each, kept).sum()) for each in group.cuts if each.node is None
    }
    for (value, axis), size in left.items():
        if value.shape is not None:
            value.shape = ir.Shape([size if i == axis else dim for i, dim in enumerate(value.shape)])
    for node in {use for each in group.cuts if (use := each.value.producer()) is not None}:
        if op(node, "Reshape"):
            sizes = constant(node.inputs[1])
            assert sizes is not None
            new = [left.get((node.outputs[0], axis), size) if size > 0 else size
                   for axis, size in enumerate(sizes)]  # fmt: skip
            node.replace_input_with(1, add_initializer(graph, f"cut_{node.name}", np.array(new)))
        axis = attribute_int(node, "axis", 0)
        if op(node, "Split") and any((out, axis) in left for out in node.outputs):
            new = [left.get((out, axis), static_dim(out, axis)) for out in node.outputs]
            node.resize_inputs(2)
            node.replace_input_with(1, add_initializer(graph, f"cut_{node.name}", np.array(new)))
            node.attributes.pop("num_outputs", None)
