"""The reshapes and transposes that exporters put around the two products of an attention."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compiler.ir.dims import INFERRED, Dim, axis_of, reshape_entries
from compiler.ir.edit import attribute_ints, op, produced_by, scalar, static_dim


class NoMatchError(Exception):
    """Why a Softmax is not the attention that is known here."""


@dataclass(frozen=True, slots=True)
class View:
    """A [batch, sequence, hidden] value, split into heads and transposed.

    Attributes:
        source: the value before the split.
        heads: number of heads.
        size: channels of a head.
        scale: a constant factor on the way.
    """

    source: ir.Value
    heads: int
    size: int
    scale: float


def find_view(value: ir.Value | None, wanted: tuple[int, ...]) -> View:
    """Go back from an operand of a product to what is split into heads.

    Args:
        value: the operand, [batch, heads, ...].
        wanted: the order of the axes of [batch, sequence, heads, size] that the operand must have.

    Raises:
        NoMatchError: it is no such view.
    """
    order: tuple[int, ...] = (0, 1, 2, 3)
    scale, current = 1.0, value
    for _ in range(8):
        node = None if current is None else current.producer()
        if node is None:
            break
        factor = scalar_factor(node)
        step = None if factor is not None else _permuted(node)
        if factor is not None:
            current, scale = factor[0], scale * factor[1]
        elif step is not None:
            order, current = tuple(step[1][each] for each in order), step[0]
        elif op(node, "Reshape"):
            if order != wanted:
                raise NoMatchError(f"its operands are transposed by {order}, not {wanted}")
            return _split_heads(node, scale)
        else:
            break
    raise NoMatchError("its operands are not a [batch, sequence, hidden] tensor split into heads")


def find_merge(context: ir.Node, scores: ir.Node, value: View) -> ir.Node:
    """The Reshape that puts the heads of the second product side by side again.

    Args:
        context: the product of probabilities and values, [batch, heads, sequence, size].
        scores: the product of queries and keys.
        value: of the values.

    Raises:
        NoMatchError: there is none.
    """
    reader = _data_reader(context.outputs[0])
    if op(reader, "Reshape") and reader is not None and _keeps_shape(reader, context, scores, value):
        reader = _data_reader(reader.outputs[0])
    if reader is None or not op(reader, "Transpose") or attribute_ints(reader, "perm") != (0, 2, 1, 3):
        raise NoMatchError("its heads are not put side by side again")
    merge = _data_reader(reader.outputs[0])
    if merge is None or not op(merge, "Reshape") or not _joins_last(merge, value):
        raise NoMatchError("its heads are not merged into one axis again")
    return merge


def scalar_factor(node: ir.Node) -> tuple[ir.Value, float] | None:
    """The other operand and the factor, if `node` multiplies or divides by a number."""
    if not op(node, "Mul", "Div"):
        return None
    first, second = node.inputs
    number = scalar(second)
    if number is not None and first is not None:
        return first, (1.0 / number if op(node, "Div") else number)
    number = scalar(first)
    if op(node, "Mul") and number is not None and second is not None:
        return second, number
    return None


def _data_reader(value: ir.Value) -> ir.Node | None:
    """The only node that reads the data of `value`, and not just its shape."""
    readers = [use.node for use in value.uses() if not op(use.node, "Shape")]
    return readers[0] if len(readers) == 1 and not value.is_graph_output() else None


def _permuted(node: ir.Node) -> tuple[ir.Value, tuple[int, ...]] | None:
    """The source and the order of the axes, for a Transpose of four axes in one step or through three."""
    source = node.inputs[0] if node.inputs else None
    if op(node, "Transpose"):
        perm = attribute_ints(node, "perm")
        return None if source is None or perm is None or len(perm) != 4 else (source, perm)
    swap = produced_by(source, "Transpose") if op(node, "Reshape") else None
    fold = None if swap is None else produced_by(swap.inputs[0], "Reshape")
    if swap is None or fold is None or attribute_ints(swap, "perm") != (0, 2, 1) or fold.inputs[0] is None:
        return None
    inner = fold.inputs[0]
    axes = tuple(axis_of(inner, axis) for axis in range(4))
    folded, unfolded = reshape_entries(fold), reshape_entries(node)
    if folded is None or unfolded is None or len(folded) != 3 or len(unfolded) != 4:
        return None
    if folded[0] != INFERRED or folded[1:] != axes[2:] or unfolded != (axes[0], axes[1], axes[3], axes[2]):
        return None
    return inner, (0, 1, 3, 2)


def _split_heads(reshape: ir.Node, scale: float) -> View:
    source = reshape.inputs[0]
    hidden = static_dim(source, -1)
    if source is None or source.shape is None or len(source.shape) != 3 or hidden is None:
        raise NoMatchError("its operands do not come from a [batch, sequence, hidden] tensor of known width")
    entries = reshape_entries(reshape) or (INFERRED,) * 4
    size = static_dim(reshape.outputs[0], -1) or entries[-1]
    if not isinstance(size, int) or size <= 0 or hidden % size or len(entries) != 4:
        raise NoMatchError("the head size is not known when compiling")
    heads = hidden // size
    if (static_dim(reshape.outputs[0], 2) or heads) != heads or entries[2] not in (heads, INFERRED):
        raise NoMatchError("its operands are split along other axes than the channels")
    return View(source, heads, size, scale)


def _keeps_shape(reshape: ir.Node, context: ir.Node, scores: ir.Node, value: View) -> bool:
    """Whether a Reshape of the second product's result changes nothing."""
    entries = reshape_entries(reshape)
    query = scores.inputs[0]
    if entries is None or len(entries) != 4 or query is None:
        return False
    out = context.outputs[0]
    known: tuple[set[Dim], ...] = (
        {axis_of(out, 0), axis_of(query, 0)},
        {value.heads},
        {axis_of(query, 2)},
        {value.size},
    )
    return all(entry == INFERRED or entry in same for entry, same in zip(entries, known, strict=True))


def _joins_last(merge: ir.Node, value: View) -> bool:
    """Whether a Reshape of [batch, sequence, heads, size] gives [batch, sequence, heads * size]."""
    entries = reshape_entries(merge)
    shape, width = merge.outputs[0].shape, value.heads * value.size
    if entries is None:
        return shape is not None and len(shape) == 3 and shape[2] == width
    symbols = all(not isinstance(each, int) or each == INFERRED for each in entries[:2])
    static = shape is not None and len(shape) == 3 and shape[2] == width
    return len(entries) == 3 and entries[2] in (width, INFERRED) and (symbols or static)
