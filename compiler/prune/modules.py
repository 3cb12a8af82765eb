"""What may be removed from a graph: the heads of each attention, the neurons of each feed-forward network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from compiler.ir.edit import attribute_int, op, static_dim
from compiler.ir.encoder import EncoderGraph
from compiler.ir.linear import Linear, linear_at, linear_making
from compiler.options import Kind
from compiler.prune.axes import ChannelGroup, Cut, find_groups

_KIND_READ_BY: Final[Mapping[str, Kind]] = {"attention_output": "heads", "ffn_down": "ffn"}
_MOVES: Final = ("Reshape", "Split", "Concat", "Transpose", "Squeeze", "Unsqueeze")


@dataclass(frozen=True, slots=True, eq=False)
class PrunableModule:
    """Groups of channels that leave a graph together: columns of the writers, rows of the reader.

    Attributes:
        name: `layerN.heads` or `layerN.ffn`.
        kind: which of the two.
        groups: heads or neurons.
        group_size: channels of each.
        writers: the products that make the channels.
        reader: the product that reads them.
        between: values of these channels, from the writers' results to what the reader reads.
        residual: what the reader's result is added to.
        total: their sum.
        attention: the Attention node of heads.
    """

    name: str
    kind: Kind
    groups: int
    group_size: int
    writers: tuple[Linear, ...]
    reader: Linear
    between: tuple[ir.Value, ...]
    residual: ir.Value
    total: ir.Value
    attention: ir.Node | None

    @property
    def single(self) -> bool:
        """Whether it computes one row of each text, of the first token."""
        return static_dim(self.reader.input, 1) == 1


@dataclass(frozen=True, slots=True)
class Prunable:
    """The modules in the graph's order, and why others are left alone, by name."""

    modules: tuple[PrunableModule, ...]
    declined: dict[str, str]


class _DeclinedError(Exception):
    """Why a module is left alone."""


def find_modules(model: ir.Model, groups: Sequence[ChannelGroup] | None = None) -> Prunable:
    """Every group of channels that is the heads or the neurons of an encoder layer, and nothing else.

    Args:
        model: the float IR after the passes, queries, keys and values apart.
        groups: what `find_groups` finds in it, where that is known already.
    """
    found = find_groups(model) if groups is None else groups
    modules: list[PrunableModule] = []
    declined: dict[str, str] = {}
    for name, kind, reader in _branches(model):
        try:
            modules.append(_module(name, kind, reader, found))
        except _DeclinedError as reason:
            declined[name] = str(reason)
    return Prunable(tuple(modules), declined)


def _branches(model: ir.Model) -> Iterator[tuple[str, Kind, Linear]]:
    """The products that write into the residual stream, by the name of the module that each reads."""
    for layer in EncoderGraph.find(model).layers:
        for role, reader in layer.linears:
            kind = _KIND_READ_BY.get(role)
            if kind is not None:
                yield f"layer{layer.index}.{kind}", kind, reader


def _module(name: str, kind: Kind, reader: Linear, groups: Sequence[ChannelGroup]) -> PrunableModule:
    group = _group(reader, groups)
    attention = _attention(group, kind)
    writers = _writers(group, attention)
    if {each.matmul for each in writers} != set(group.writers) or (attention is None and len(writers) != 1):
        names = " and ".join(str(each.name) for each in group.writers)
        raise _DeclinedError(f"its channels are made by {names} together")
    between = _between(group, writers, reader, attention)
    _check_side_by_side(group)
    return PrunableModule(
        name, kind, group.units, group.size, writers, reader, between, *_stream(reader), attention
    )


def _group(reader: Linear, groups: Sequence[ChannelGroup]) -> ChannelGroup:
    found = [each for each in groups if reader.matmul in each.readers]
    if len(found) != 1:
        what = "several groups of" if found else "no"
        raise _DeclinedError(f"{reader.name} reads {what} channels that can be cut")
    (group,) = found
    if group.reason is not None:
        raise _DeclinedError(group.reason)
    if len(group.readers) != 1:
        others = [str(each.name) for each in group.readers if each is not reader.matmul]
        raise _DeclinedError(f"{' and '.join(others)} read its channels as well")
    return group


def _attention(group: ChannelGroup, kind: Kind) -> ir.Node | None:
    """The one Attention of heads; None for neurons."""
    if len(group.attentions) > 1:
        raise _DeclinedError("several attentions compute on its channels")
    attention = group.attentions[0] if group.attentions else None
    if (attention is None) == (kind == "heads"):
        raise _DeclinedError("its channels are not those of one attention" if kind == "heads" else
                             "its channels are heads of an attention")  # fmt: skip
    if attention is not None:
        heads = attribute_int(attention, "q_num_heads", 1)
        if attribute_int(attention, "kv_num_heads", heads) != heads:
            raise _DeclinedError("heads share keys and values")
    return attention


def _writers(group: ChannelGroup, attention: ir.Node | None) -> tuple[Linear, ...]:
    """Queries, keys and values, or the one product that makes neurons."""
    if attention is None:
        return tuple(each for each in map(linear_at, group.writers) if each is not None)
    found = [linear_making(each) for each in attention.inputs[:3]]
    writers = tuple(each for each in found if each is not None)
    if len({each.matmul for each in writers}) != 3:
        raise _DeclinedError("queries, keys and values are not three products")
    return writers


def _between(
    group: ChannelGroup, writers: Sequence[Linear], reader: Linear, attention: ir.Node | None
) -> tuple[ir.Value, ...]:
    """The values with the channels in their last axis, once it is known that nothing else is cut."""
    parts = {(reader.matmul, reader.weight)}
    for each in writers:
        parts.add((each.matmul, each.weight))
        if each.add is not None and each.bias_value is not None:
            parts.add((each.add, each.bias_value))
    own = {attention, *(node for node, _ in parts)}
    return tuple(each.value for each in group.cuts if _carries(each, parts, own, heads=attention is not None))


def _carries(
    cut: Cut, parts: set[tuple[ir.Node, ir.Value]], own: set[ir.Node | None], *, heads: bool
) -> bool:
    if cut.node is not None:
        if (cut.node, cut.value) not in parts:
            raise _DeclinedError(f"{cut.node.name} has an operand for each channel")
        return False
    node = cut.value.producer()
    if node is not None and ((heads and node not in own) or op(node, *_MOVES)):
        raise _DeclinedError(f"{node.name} lies between its products")
    return True


def _check_side_by_side(group: ChannelGroup) -> None:
    wanted = np.repeat(np.arange(group.units), group.size)
    if not all(np.array_equal(each.units, wanted) for each in group.cuts):
        raise _DeclinedError("its channels do not lie side by side")


def _stream(reader: Linear) -> tuple[ir.Value, ir.Value]:
    """What a reader's result is added to, and the sum."""
    addition = next(use.node for use in reader.output.uses() if op(use.node, "Add"))
    residual = next(each for each in addition.inputs if each is not None and each is not reader.output)
    return residual, addition.outputs[0]
