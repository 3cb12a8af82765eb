"""What a Reshape does to labels: it keeps an axis, splits it into factors, or merges factors into one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from compiler.ir.dims import INFERRED, Dim, axis_of, reshape_entries
from compiler.prune.axis_labels import Axes, Label, Labels


def reshaped(labels: Labels, node: ir.Node, axes: Axes) -> list[Label | None] | None:
    """The labels of a Reshape's result; None where it is not known to do one of these.

    An axis that is split hands its channels to its first factor, a whole block of them to each place: heads
    are cut, and not the same channel in every head.

    Args:
        labels: where the channels of a block are joined.
        node: the Reshape.
        axes: of its input.
    """
    before, after = _dims(node, axes), reshape_entries(node)
    if before is None or after is None:
        return None
    for entries in _resolved(before, after):
        found = _matched(labels, node, axes, before, entries)
        if found is not None:
            return found
    return None


def _dims(node: ir.Node, axes: Axes) -> tuple[Dim, ...] | None:
    source = node.inputs[0]
    if source is None:
        return None
    return tuple(axis_of(source, axis) if each is None else len(each) for axis, each in enumerate(axes))


def _resolved(before: Sequence[Dim], after: Sequence[Dim]) -> list[tuple[Dim, ...]]:
    """The result's axes, with each size that the inferred one could have; the right one makes them match."""
    if INFERRED not in after:
        return [tuple(after)]
    known = math.prod(each for each in after if isinstance(each, int) and each != INFERRED)
    whole = math.prod(each for each in before if isinstance(each, int))
    candidates: list[Dim] = [*before, *([whole // known] if known and whole % known == 0 else [])]
    sizes = [each for each in dict.fromkeys(candidates) if _sizes_match(before, after, each)]
    filled = [tuple(size if each == INFERRED else each for each in after) for size in sizes]
    return [*filled, tuple(after)]


def _sizes_match(before: Sequence[Dim], after: Sequence[Dim], size: Dim) -> bool:
    filled = [size if each == INFERRED else each for each in after]
    return _product(before) == _product(filled)


def _product(dims: Sequence[Dim]) -> tuple[int, list[str]]:
    names = [f"{id(each[0])}.{each[1]}" for each in dims if not isinstance(each, int)]
    return math.prod(each for each in dims if isinstance(each, int)), sorted(names)


def _matched(
    labels: Labels, node: ir.Node, axes: Axes, before: Sequence[Dim], after: Sequence[Dim]
) -> list[Label | None] | None:
    """The axes that are the same at the front and at the back keep their labels."""
    front = _common(before, after)
    back = _common(before[front:][::-1], after[front:][::-1])
    inner = axes[front : len(axes) - back]
    middle = _factored(
        labels, node, inner, before[front : len(before) - back], after[front : len(after) - back]
    )
    if middle is None:
        return None
    return [*axes[:front], *middle, *axes[len(axes) - back :]]


def _common(one: Sequence[Dim], other: Sequence[Dim]) -> int:
    pairs = zip(one, other, strict=False)
    count = next((place for place, (a, b) in enumerate(pairs) if a != b or a == INFERRED), None)
    return min(len(one), len(other)) if count is None else count


def _factored(
    labels: Labels, node: ir.Node, axes: Axes, before: Sequence[Dim], after: Sequence[Dim]
) -> list[Label | None] | None:
    if all(each is None for each in axes):
        return [None] * len(after)
    old, new = ([each for each in dims if isinstance(each, int)] for dims in (before, after))
    if len(old) < len(before) or len(new) < len(after) or math.prod(old) != math.prod(new):
        return None
    if sum(size != 1 for size in old) == 1:
        return _split(labels, node, next(each for each in axes if each is not None), new)
    return _merged(axes, old, new)


def _split(labels: Labels, node: ir.Node, label: Label, sizes: Sequence[int]) -> list[Label | None]:
    place = next(i for i, size in enumerate(sizes) if size != 1)
    blocks = label.reshape(sizes[place], -1)
    heads = np.ascontiguousarray(blocks[:, 0])
    for column in blocks.T[1:]:
        labels.join(heads, np.ascontiguousarray(column), f"{node.name} mixes it with what cannot be cut")
    return [heads if i == place else None for i in range(len(sizes))]


def _merged(axes: Axes, old: Sequence[int], new: Sequence[int]) -> list[Label | None] | None:
    wide = [i for i, size in enumerate(new) if size != 1]
    found = [i for i, each in enumerate(axes) if each is not None]
    if len(wide) != 1 or len(found) != 1:
        return None
    label = axes[found[0]]
    if label is None:
        return None
    outer, inner = math.prod(old[: found[0]]), math.prod(old[found[0] + 1 :])
    return [np.tile(np.repeat(label, inner), outer) if i == wide[0] else None for i in range(len(new))]
