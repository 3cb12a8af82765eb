"""Labels of ops that move data without computing on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compiler.ir.edit import attribute_int, attribute_ints, constant
from compiler.prune.axis_broadcast import aligned_axis, size_of
from compiler.prune.axis_labels import FIXED, Label, Labels
from compiler.prune.axis_views import reshaped


def gather(labels: Labels, node: ir.Node) -> bool:
    """Rows of a table, whose columns are new channels; or places of an axis that has no channels."""
    axes, indices = (labels.axes(each) for each in node.inputs)
    if axes is None or indices is None or any(each is not None for each in indices):
        return False
    axis = attribute_int(node, "axis", 0) % max(len(axes), 1)
    table = constant(node.inputs[0])
    if table is not None and table.ndim == 2 and axis == 0 and table.dtype.kind == "f":
        labels.give(node.outputs[0], (*indices, labels.write(node, 0, 1, int(table.shape[1]))))
        return True
    if axes[axis] is not None:
        return False
    labels.give(node.outputs[0], (*axes[:axis], *indices, *axes[axis + 1 :]))
    return True


def transpose(labels: Labels, node: ir.Node) -> bool:
    """Axes change places."""
    axes = labels.axes(node.inputs[0])
    if axes is None:
        return False
    perm = attribute_ints(node, "perm") or tuple(reversed(range(len(axes))))
    labels.give(node.outputs[0], [axes[each] for each in perm])
    return True


def unsqueeze(labels: Labels, node: ir.Node) -> bool:
    """New axes without channels."""
    axes, new = labels.axes(node.inputs[0]), constant(node.inputs[1])
    if axes is None or new is None:
        return False
    rank = len(axes) + new.size
    places = {int(each) % rank for each in new.reshape(-1)}
    rest = iter(axes)
    labels.give(node.outputs[0], [None if place in places else next(rest) for place in range(rank)])
    return True


def squeeze(labels: Labels, node: ir.Node) -> bool:
    """Axes of size 1 go; they have no channels."""
    axes = labels.axes(node.inputs[0])
    gone = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    if axes is None or gone is None:
        return False
    places = {int(each) % len(axes) for each in gone.reshape(-1)}
    labels.give(node.outputs[0], [each for place, each in enumerate(axes) if place not in places])
    return True


def reshape(labels: Labels, node: ir.Node) -> bool:
    """See `axis_views`."""
    axes = labels.axes(node.inputs[0])
    if any(labels.labelled(each) for each in node.inputs[1:]):
        return False
    if axes is None or not labels.labelled(node.inputs[0]):
        return True
    found = reshaped(labels, node, axes)
    if found is None:
        return False
    labels.give(node.outputs[0], found)
    return True


def split(labels: Labels, node: ir.Node) -> bool:
    """Each piece keeps its channels."""
    axes = labels.axes(node.inputs[0])
    if axes is None or not axes:
        return False
    axis = attribute_int(node, "axis", 0) % len(axes)
    label = axes[axis]
    pieces: Sequence[Label | None] = [None] * len(node.outputs)
    if label is not None:
        ends = _ends(node, len(label))
        if ends is None:
            return False
        pieces = np.split(label, ends)
    for piece in pieces:
        if piece is not None and len(piece) < 2:
            labels.stop(piece, f"{node.name} takes a single channel out of it")
    for out, piece in zip(node.outputs, pieces, strict=True):
        kept = None if piece is None or len(piece) < 2 else piece
        labels.give(out, [kept if place == axis else each for place, each in enumerate(axes)])
    return True


def _ends(node: ir.Node, size: int) -> list[int] | None:
    """Where the pieces of a Split end, without the last."""
    given = node.inputs[1] if len(node.inputs) > 1 else None
    count = len(node.outputs)
    if given is None:
        sizes = [-(-size // count)] * (count - 1)
    else:
        array = constant(given)
        if array is None or array.size != count or int(array.sum()) != size:
            return None
        sizes = [int(each) for each in array[:-1]]
    return [sum(sizes[: place + 1]) for place in range(len(sizes))]


def concat(labels: Labels, node: ir.Node) -> bool:
    """Channels side by side; other axes join."""
    operands = [labels.axes(each) for each in node.inputs]
    known = [each for each in operands if each is not None]
    if len(known) < len(operands) or len({len(each) for each in known}) != 1:
        return False
    axis = attribute_int(node, "axis", 0) % len(known[0])
    beside = _beside(node, [each[axis] for each in known], axis)
    if beside is None:
        return False
    out: list[Label | None] = []
    for place in range(len(known[0])):
        if place == axis:
            out.append(np.concatenate(beside) if beside else None)
        else:
            out.append(aligned_axis(labels, node, known, place - len(known[0]), cut=True))
    labels.give(node.outputs[0], out)
    return True


def _beside(node: ir.Node, found: Sequence[Label | None], axis: int) -> list[Label] | None:
    """The labels to put side by side, fixed ones where there are none; empty where there are none at all."""
    if all(each is None for each in found):
        return []
    sizes = [size_of(each, axis) for each in node.inputs]
    if any(size is None and label is None for size, label in zip(sizes, found, strict=True)):
        return None
    fixed = [np.full(size or 0, FIXED, np.intp) for size in sizes]
    return [other if label is None else label for label, other in zip(found, fixed, strict=True)]


def slice_(labels: Labels, node: ir.Node) -> bool:
    """Places of axes that have no channels."""
    axes = labels.axes(node.inputs[0])
    places = constant(node.inputs[3]) if len(node.inputs) > 3 else None
    if any(labels.labelled(each) for each in node.inputs[1:]):
        return False
    if axes is None or not labels.labelled(node.inputs[0]):
        return True
    if places is None or any(axes[int(each)] is not None for each in places.reshape(-1)):
        return False
    labels.give(node.outputs[0], axes)
    return True


def shape(labels: Labels, node: ir.Node) -> bool:
    """The sizes of axes that have no channels."""
    axes = labels.axes(node.inputs[0]) or ()
    asked = axes[attribute_int(node, "start", 0) : attribute_int(node, "end", len(axes))]
    return all(each is None for each in asked)
