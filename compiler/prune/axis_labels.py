"""Which channels of a graph are one and the same: labels of axes, and the joins between them.

A label is the number of a channel for each place of an axis. Products and tables hand out new numbers; every
other op passes labels on and joins those that can only be cut together. The joins are a union-find over the
numbers of all channels at once (Tarjan 1975, with whole arrays in place of single elements).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import constant

Label: TypeAlias = NDArray[np.intp]
"""[size of the axis], above 1: a channel for each place, FIXED for a place that cannot be cut."""
Axes: TypeAlias = tuple[Label | None, ...]
"""A label for each axis of a value; None for an axis without channels."""

FIXED: Final = -1


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """An axis of a tensor and its channels.

    Attributes:
        value: the tensor.
        axis: from the front.
        label: its channels.
        node: that reads the tensor, where it is a constant; it is cut for this node alone.
        position: of the constant among the inputs of `node`.
    """

    value: ir.Value
    axis: int
    label: Label
    node: ir.Node | None = None
    position: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Touch:
    """What a node does to channels: a product writes or reads them, an attention computes on them."""

    node: ir.Node
    label: Label


class Labels:
    """The labels of every value so far.

    Attributes:
        places: the axes with channels, in graph order.
        writers, readers, attentions: the nodes that touch channels.
        stops: channels that cannot be cut, with the reason.
    """

    def __init__(self) -> None:
        """Knows no channel yet."""
        self.places: list[Place] = []
        self.writers: list[Touch] = []
        self.readers: list[Touch] = []
        self.attentions: list[Touch] = []
        self.stops: list[tuple[Label, str]] = []
        self._axes: dict[ir.Value, Axes] = {}
        self._joins: list[tuple[Label, Label]] = []
        self._count = 0

    def axes(self, value: ir.Value | None) -> Axes | None:
        """The labels of a value; None where its rank is not known, which no labelled value's is."""
        if value is None:
            return ()
        known = self._axes.get(value)
        if known is not None:
            return known
        array = constant(value)
        if array is not None:
            return (None,) * array.ndim
        return None if value.shape is None else (None,) * len(value.shape)

    def labelled(self, value: ir.Value | None) -> list[Label]:
        """The labels that a value has."""
        return [each for each in self.axes(value) or () if each is not None]

    def values(self) -> Iterator[tuple[ir.Value, list[Label]]]:
        """Every value with a label."""
        for value in self._axes:
            found = self.labelled(value)
            if found:
                yield value, found

    def give(self, value: ir.Value, axes: Sequence[Label | None]) -> None:
        """Label a value that a node makes."""
        self._axes[value] = tuple(axes)
        for axis, label in enumerate(axes):
            if label is not None:
                self.places.append(Place(value, axis, label))

    def write(self, node: ir.Node, position: int, axis: int, size: int) -> Label | None:
        """New channels, one for each place of an axis of a constant; None for an axis of one place."""
        if size < 2:
            return None
        label = np.arange(self._count, self._count + size, dtype=np.intp)
        self._count += size
        self.writers.append(Touch(node, label))
        self.take(node, position, axis, label)
        return label

    def read(self, node: ir.Node, position: int, axis: int, label: Label) -> None:
        """A product sums over channels, each with its own places of a constant."""
        self.readers.append(Touch(node, label))
        self.take(node, position, axis, label)

    def take(self, node: ir.Node, position: int, axis: int, label: Label) -> None:
        """An axis of a constant, as one node reads it, goes with channels."""
        value = node.inputs[position]
        if value is not None:
            self.places.append(Place(value, axis, label, node, position))

    def join(self, one: Label, other: Label, reason: str) -> None:
        """Channels that can only be cut together, place by place; `reason` where one of them is fixed."""
        if len(one) != len(other):
            self.stop(one, reason)
            self.stop(other, reason)
            return
        fixed = (one == FIXED) != (other == FIXED)
        if fixed.any():
            self.stop(one[fixed], reason)
            self.stop(other[fixed], reason)
        both = (one != FIXED) & (other != FIXED)
        if both.any() and one is not other:
            self._joins.append((one[both], other[both]))

    def stop(self, label: Label, reason: str) -> None:
        """Channels that cannot be cut."""
        found = label[label != FIXED]
        if len(found):
            self.stops.append((found, reason))

    def units(self) -> Label:
        """[channels]: the least of the channels that each is joined with, directly or through others."""
        return roots(self._count, self._joins)

    def sources(self, units: Label) -> Label:
        """[channels]: the least channel among all products whose channels are joined with each one's."""
        if not self._count:
            return units
        whole = [(label[:1].repeat(len(label)), label) for label in (each.label for each in self.writers)]
        return roots(self._count, [*whole, (np.arange(self._count, dtype=np.intp), units)])


def roots(count: int, joins: Sequence[tuple[Label, Label]]) -> Label:
    """[count]: the least member of each one's set after pairwise joins."""
    parent = np.arange(count, dtype=np.intp)
    if not joins:
        return parent
    one, other = (np.concatenate(side) for side in zip(*joins, strict=True))
    while True:
        left, right = parent[one], parent[other]
        if np.array_equal(left, right):
            return parent
        np.minimum.at(parent, np.maximum(left, right), np.minimum(left, right))
        while not np.array_equal(parent, parent[parent]):
            parent = parent[parent]
