"""Groups of channels that can only be cut together, found by following every axis of a graph."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.prune.axis_labels import FIXED, Label, Labels, Place, Touch
from compiler.prune.axis_rules import apply


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """An axis that loses places where units of a group are cut.

    Attributes:
        value: the tensor: a constant, or what a node makes.
        axis: from the front.
        units: [size of the axis], the unit of each place; -1 where it belongs to another group or to none.
        node: that reads the constant; other readers keep theirs as it is. None for what a node makes.
        position: of the constant among the inputs of `node`.
    """

    value: ir.Value
    axis: int
    units: NDArray[np.intp]
    node: ir.Node | None
    position: int


@dataclass(frozen=True, slots=True, eq=False)
class ChannelGroup:
    """Channels from the products that write them to the products that read them.

    Cutting units from every axis in `cuts` computes the same as multiplying them by zero where they are read.

    Attributes:
        units: what can be cut one by one: heads or neurons.
        size: channels of a unit where it is read.
        writers: the products and tables that make the channels, in graph order.
        readers: the products that sum over them.
        attentions: the Attention nodes that compute on them head by head.
        cuts: every axis that goes with them, in graph order.
        reasons: why it cannot be cut; empty where it can.
        notes: what to know when cutting.
    """

    units: int
    size: int
    writers: tuple[ir.Node, ...]
    readers: tuple[ir.Node, ...]
    attentions: tuple[ir.Node, ...]
    cuts: tuple[Cut, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def reason(self) -> str | None:
        """The first reason and how many there are besides, or None where it can be cut."""
        if not self.reasons:
            return None
        more = len(self.reasons) - 1
        return self.reasons[0] + (f" (and {more} more reason{'s' if more > 1 else ''})" if more else "")


def find_groups(model: ir.Model) -> tuple[ChannelGroup, ...]:
    """Every group of channels, in the order of their first writers.

    A product with a constant matrix makes channels of the matrix' columns and reads those of its input with
    the rows; so does a table with its columns. Between them channels pass through ops that work place by
    place, move data, or keep heads apart, and whatever meets them on the way joins them. What normalizes
    over them, reduces them, leaves the graph or is not known stops them.

    Args:
        model: the float IR after the passes; it is not changed.
    """
    labels = Labels()
    for node in model.graph:
        apply(labels, node)
    _stop_outputs(labels, model.graph)
    units = labels.units()
    source = labels.sources(units)
    return tuple(_Group(labels, units, source, root).build() for root in np.unique(source))


def _stop_outputs(labels: Labels, graph: ir.Graph) -> None:
    for value, found in labels.values():
        inner = next((each.node for each in value.uses() if each.node.graph is not graph), None)
        for label in found:
            if value.is_graph_output():
                labels.stop(label, f"it leaves the graph as {value.name}")
            if inner is not None:
                labels.stop(label, f"{inner.name} reads it inside a subgraph")


class _Group:
    """Collects what belongs to one group."""

    def __init__(self, labels: Labels, units: Label, source: Label, root: int) -> None:
        self._labels = labels
        self._inside = np.append(source == root, False)
        roots = np.unique(units[source == root])
        self._count = len(roots)
        self._unit = np.full(len(self._inside), FIXED, np.intp)
        self._unit[:-1][source == root] = np.searchsorted(roots, units[source == root])

    def build(self) -> ChannelGroup:
        labels = self._labels
        cuts = tuple(self._cut(each) for each in labels.places if self._has(each.label))
        readers = self._nodes(labels.readers)
        reasons = [reason for label, reason in labels.stops if self._has(label)]
        if not reasons:
            reasons += self._uneven(cuts)
            reasons += [] if readers else ["no product reads it"]
        return ChannelGroup(
            self._count,
            self._size(labels.readers) or self._size(labels.writers),
            self._nodes(labels.writers),
            readers,
            self._nodes(labels.attentions),
            cuts,
            tuple(dict.fromkeys(reasons)),
            tuple(_shared(cuts)),
        )

    def _has(self, label: Label) -> bool:
        return bool(self._inside[label].any())

    def _nodes(self, touches: Iterable[Touch]) -> tuple[ir.Node, ...]:
        return tuple(dict.fromkeys(each.node for each in touches if self._has(each.label)))

    def _size(self, touches: Iterable[Touch]) -> int:
        """Channels of the first unit in the first of these that has any."""
        label = next((each.label for each in touches if self._has(each.label)), None)
        return 0 if label is None else int(np.count_nonzero(self._unit[label] == 0))

    def _cut(self, place: Place) -> Cut:
        return Cut(place.value, place.axis, self._unit[place.label], place.node, place.position)

    def _uneven(self, cuts: Sequence[Cut]) -> Iterator[str]:
        for cut in cuts:
            counts = np.bincount(cut.units[cut.units != FIXED], minlength=self._count)
            if counts.min() != counts.max():
                yield f"{cut.value.name} holds more of some of its units than of others"
                return


def _shared(cuts: Iterable[Cut]) -> Iterator[str]:
    for value in dict.fromkeys(each.value for each in cuts if each.node is not None):
        readers = dict.fromkeys(str(use.node.name) for use in value.uses())
        if len(readers) > 1:
            yield f"{value.name} is shared by {' and '.join(readers)}: each gets a copy of its own when cut"
