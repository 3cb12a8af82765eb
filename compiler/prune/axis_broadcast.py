"""Labels of ops that work place by place."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from compiler.ir.edit import constant, static_dim
from compiler.prune.axis_labels import Axes, Label, Labels


def keep(labels: Labels, node: ir.Node) -> bool:
    """One operand: its axes stay."""
    axes = labels.axes(node.inputs[0])
    if axes is None or any(labels.labelled(each) for each in node.inputs[1:]):
        return False
    labels.give(node.outputs[0], axes)
    return True


def broadcast(labels: Labels, node: ir.Node) -> bool:
    """Operands of one shape, after broadcasting: their axes join."""
    operands = [labels.axes(each) for each in node.inputs]
    known = [each for each in operands if each is not None]
    if len(known) < len(operands):
        return False
    labels.give(node.outputs[0], aligned(labels, node, known))
    return True


def aligned(
    labels: Labels, node: ir.Node, operands: Sequence[Axes], *, skip: int = 0, cut: bool = True
) -> list[Label | None]:
    """The labels after broadcasting.

    Args:
        labels: of everything.
        node: whose inputs the operands are, in order.
        operands: their labels.
        skip: axes at the end that do not broadcast.
        cut: whether constant operands may be cut with the others.
    """
    rank = max(map(len, operands))
    return [aligned_axis(labels, node, operands, axis, cut=cut) for axis in range(-rank, -skip)]


def aligned_axis(
    labels: Labels, node: ir.Node, operands: Sequence[Axes], axis: int, *, cut: bool
) -> Label | None:
    """One axis, counted from the end; see `aligned`."""
    found = [each[axis] for each in operands if len(each) >= -axis]
    label = next((each for each in found if each is not None), None)
    if label is None:
        return None
    for position, axes in enumerate(operands):
        if len(axes) < -axis:
            continue
        other, value = axes[axis], node.inputs[position]
        reason = f"{node.name} combines it with {named(value)}, which cannot be cut"
        if other is not None:
            labels.join(label, other, f"{node.name} combines it with what cannot be cut")
        elif cut and _channels(value, axis) == len(label):
            labels.take(node, position, len(axes) + axis, label)
        elif size_of(value, axis) != 1:
            labels.stop(label, reason)
    return label


def named(value: ir.Value | None) -> str:
    """A value in a message."""
    return "nothing" if value is None else str(value.name)


def _channels(value: ir.Value | None, axis: int) -> int:
    array = constant(value)
    return 0 if array is None else int(array.shape[axis])


def size_of(value: ir.Value | None, axis: int) -> int | None:
    """The size of an axis, None where it is not known."""
    array = constant(value)
    return static_dim(value, axis) if array is None else int(array.shape[axis])
