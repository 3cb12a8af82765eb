"""Which axis of which value a shape computed in the graph holds."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import onnx_ir as ir

from compiler.ir.edit import attribute_int, attribute_ints, constant, op, produced_by, static_dim

Dim: TypeAlias = int | tuple[ir.Value, int]
"""A number, or (value, axis): the size that this axis of this value has when the graph runs."""

INFERRED: Final = -1
_VIEWS: Final = ("Unsqueeze", "Squeeze", "Cast", "Identity")
_UNARY: Final = ("Softmax", "Cast", "Identity", "IsNaN", "Erf", "Tanh", "LayerNormalization", "Gelu", "Relu")
_BINARY: Final = ("Add", "Sub", "Mul", "Div", "Pow")


def shape_entries(value: ir.Value | None) -> tuple[Dim, ...] | None:
    """The entries of an int64 vector or scalar that describes a shape, or None where they are not known.

    A constant entry stays as it is, so -1 and 0 mean what the reader, a Reshape, lets them mean.
    """
    array = constant(value)
    if array is not None:
        return tuple(int(each) for each in array.reshape(-1))
    node = None if value is None else value.producer()
    if node is None:
        return None
    if op(node, "Shape"):
        return _axes_of(node)
    if op(node, "Concat"):
        parts = [shape_entries(each) for each in node.inputs]
        return None if any(p is None for p in parts) else tuple(d for p in parts if p is not None for d in p)
    entries = shape_entries(node.inputs[0]) if op(node, "Gather", "Slice", "Reshape", *_VIEWS) else None
    if entries is None or op(node, *_VIEWS):
        return entries
    if op(node, "Reshape"):
        wanted = constant(node.inputs[1])
        return entries if wanted is not None and wanted.size <= 1 else None
    return _picked(node, entries) if op(node, "Gather") else _sliced(node, entries)


def reshape_entries(reshape: ir.Node) -> tuple[Dim, ...] | None:
    """The axes of a Reshape's result; -1 stands for the one that is inferred. None where unknown."""
    entries = shape_entries(reshape.inputs[1])
    source = reshape.inputs[0]
    if entries is None or source is None or attribute_int(reshape, "allowzero", 0):
        return entries
    return tuple(axis_of(source, i) if each == 0 else each for i, each in enumerate(entries))


def axis_of(value: ir.Value, axis: int) -> Dim:
    """Where the size of an axis comes from: a number, or the earliest value known to have the same.

    Args:
        value: of known rank if `axis` is negative.
        axis: counted from the front, or from the end if negative.
    """
    for _ in range(64):
        known = static_dim(value, axis)
        if known is not None:
            return known
        rank = None if value.shape is None else len(value.shape)
        axis = axis + rank if axis < 0 and rank is not None else axis
        step = _origin(value, axis, rank)
        if step is None:
            return value, axis
        if isinstance(step, int):
            return step
        value, axis = step
    return value, axis


def _origin(value: ir.Value, axis: int, rank: int | None) -> Dim | None:
    node = value.producer()
    if node is None or axis < 0 or value is not node.outputs[0]:
        return None
    first = node.inputs[0] if node.inputs else None
    if first is None:
        return None
    if op(node, *_UNARY):
        return first, axis
    if op(node, "Transpose"):
        perm = attribute_ints(node, "perm")
        return None if perm is None or axis >= len(perm) else (first, perm[axis])
    if op(node, "Reshape"):
        entries = reshape_entries(node)
        return None if entries is None or axis >= len(entries) or entries[axis] == INFERRED else entries[axis]
    return None if rank is None else _combined(node, axis, rank)


def _combined(node: ir.Node, axis: int, rank: int) -> Dim | None:
    """The axis of the only operand that can have a size other than 1 there."""
    first, second = node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else None
    if op(node, "MatMul") and first is not None and second is not None:
        if first.shape is None or second.shape is None or min(len(first.shape), len(second.shape)) < 2:
            return None
        return (second, -1) if axis == rank - 1 else (first, axis - rank)
    if not op(node, "Where", *_BINARY):
        return None
    operands = [_tested(first), *node.inputs[1:]] if op(node, "Where") else node.inputs
    tensors = {each for each in operands if each is None or _stretches(each, axis - rank)}
    only = tensors.pop() if len(tensors) == 1 else None
    return None if only is None else (only, axis - rank)


def _stretches(value: ir.Value, axis: int) -> bool:
    array = constant(value)
    return array is None or (array.ndim >= -axis and array.shape[axis] != 1)


def _tested(condition: ir.Value | None) -> ir.Value | None:
    """What a NaN guard looks at, which has the shape of the condition; else the condition."""
    guard = produced_by(condition, "IsNaN")
    return condition if guard is None else guard.inputs[0]


def _axes_of(shape: ir.Node) -> tuple[Dim, ...] | None:
    source = shape.inputs[0]
    if source is None or source.shape is None:
        return None
    rank = len(source.shape)
    end = attribute_int(shape, "end", rank)
    return tuple(axis_of(source, i) for i in range(rank)[attribute_int(shape, "start", 0) : end])


def _picked(gather: ir.Node, entries: tuple[Dim, ...]) -> tuple[Dim, ...] | None:
    index: Any = constant(gather.inputs[1])
    if index is None or attribute_int(gather, "axis", 0) != 0:
        return None
    picks = [int(each) for each in index.reshape(-1)]
    return tuple(entries[i] for i in picks) if all(-len(entries) <= i < len(entries) for i in picks) else None


def _sliced(node: ir.Node, entries: tuple[Dim, ...]) -> tuple[Dim, ...] | None:
    numbers = [constant(each) for each in node.inputs[1:]]
    if any(each is None or each.size != 1 for each in numbers):
        return None
    start, end, *rest = (int(each.item()) for each in numbers if each is not None)
    axis, step = (*rest, *(0, 1)[len(rest) :])
    return entries[start:end:step] if axis == 0 and step != 0 else None
