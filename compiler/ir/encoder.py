"""The structure of a BERT-family encoder, found in the graph by topology and never by names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import onnx_ir as ir

from compiler.ir.blocks import (
    AttentionBlock,
    FfnBlock,
    NotALayerError,
    all_rows,
    find_attention,
    find_ffn,
    is_cut_after,
    stream_of_cut,
)
from compiler.ir.edit import attribute_int, constant, op, produced_by, static_dim, upstream
from compiler.ir.linear import Linear, linear_at, linear_making
from targets.errors import UnsupportedError

_SUPPORTED = "bertc compiles post-norm encoders: BERT, RoBERTa, DistilBERT, ELECTRA, MiniLM and XLM-RoBERTa"


@dataclass(frozen=True, slots=True, eq=False)
class EncoderLayer:
    """One transformer layer, or what pruning left of it: at least one block.

    Attributes:
        index: counted from the embeddings; layers of which nothing is left count too.
        attention: None where every head was cut.
        ffn: None where every neuron was cut.
    """

    index: int
    attention: AttentionBlock | None
    ffn: FfnBlock | None

    @property
    def blocks(self) -> tuple[AttentionBlock | FfnBlock, ...]:
        """Those that are there, in order."""
        return tuple(each for each in (self.attention, self.ffn) if each is not None)

    @property
    def input(self) -> ir.Value:
        """The residual stream that enters the first block, [batch, sequence, hidden]."""
        return self.blocks[0].input

    @property
    def output(self) -> ir.Value:
        """The residual stream that leaves the last block, [batch, sequence, hidden]."""
        return self.blocks[-1].result

    @property
    def heads(self) -> int:
        """The number of attention heads, 0 without an attention."""
        return 0 if self.attention is None else self.attention.heads

    @property
    def head_size(self) -> int:
        """Channels of one head, 0 without an attention."""
        return 0 if self.attention is None else self.attention.head_size

    @property
    def intermediate(self) -> int:
        """Neurons of the feed-forward network, 0 without one."""
        return 0 if self.ffn is None else self.ffn.intermediate

    @property
    def linears(self) -> tuple[tuple[str, Linear], ...]:
        """The layer's products by role, each product once."""
        return tuple(each for block in self.blocks for each in block.linears)


@dataclass(frozen=True, slots=True, eq=False)
class EncoderGraph:
    """What was found in a graph.

    Attributes:
        layers: from the embeddings upward; those of which pruning left nothing are absent.
        tables: the Gathers from constant tables: word, position and type embeddings.
        declined: attention that is there but not part of a layer that this code knows, with the reason.
    """

    layers: tuple[EncoderLayer, ...]
    tables: tuple[ir.Node, ...]
    declined: tuple[str, ...]

    @staticmethod
    def find(model: ir.Model) -> EncoderGraph:
        """Look for every encoder layer of `model`, whole or pruned.

        A block of which pruning left nothing is a LayerNormalization of the stream, or of the stream plus
        a constant vector. After an attention it takes the place of the feed-forward network, and before a
        feed-forward network that of the attention.
        """
        search = _Search()
        for node in model.graph:
            search.visit(node)
        return EncoderGraph(tuple(search.layers), tuple(_tables(model.graph)), tuple(search.declined))

    def require(self) -> EncoderGraph:
        """This graph, if all of it was understood; for models that were not pruned yet.

        Raises:
            UnsupportedError: there is no encoder layer, attention that is not part of one, or a layer without
                attention or feed-forward network.
        """
        if self.declined:
            raise UnsupportedError(f"the model is not understood: {self.declined[0]}", _SUPPORTED)
        if not self.layers:
            raise UnsupportedError("the model has no transformer encoder layer", _SUPPORTED)
        for layer in self.layers:
            if layer.attention is None or layer.ffn is None:
                lacks = "attention" if layer.attention is None else "feed-forward network"
                reason = f"layer{layer.index} has no {lacks}"
                raise UnsupportedError(f"the model is not understood: {reason}", _SUPPORTED)
        return self

    def roles(self) -> dict[str, str]:
        """Product name to `layerN.role`, or to `embeddings` for what comes before the first layer."""
        before = upstream(self.layers[0].input) if self.layers else []
        roles = {linear.name: "embeddings" for linear in map(linear_at, before) if linear is not None}
        for layer in self.layers:
            roles.update({linear.name: f"layer{layer.index}.{role}" for role, linear in layer.linears})
        return roles


class _Search:
    """Goes through a graph in order and counts the blocks below every stream, cut ones too."""

    def __init__(self) -> None:
        self.layers: list[EncoderLayer] = []
        self.declined: list[str] = []
        self._below: dict[ir.Value, int] = {}

    def visit(self, node: ir.Node) -> None:
        """Takes the layer that begins at a node, if one does."""
        if op(node, "Softmax"):
            self.declined.append(f"{node.name}: its attention was not recognized")
        elif op(node, "Attention"):
            try:
                attention = find_attention(node)
                cut = is_cut_after(attention.result)
                self._add(attention, None if cut else find_ffn(attention.result))
            except NotALayerError as reason:
                self.declined.append(f"{node.name}: {reason}")
        elif (stream := stream_of_cut(node)) is not None and self._is_residual(all_rows(stream)):
            self._pass(stream, node.outputs[0])
            with suppress(NotALayerError):
                self._add(None, find_ffn(node.outputs[0]))

    def _is_residual(self, stream: ir.Value) -> bool:
        """Whether a norm makes it, or the projection of embeddings that are narrower than the encoder."""
        first = not self._below and linear_making(stream) is not None
        return first or produced_by(stream, "LayerNormalization") is not None

    def _add(self, attention: AttentionBlock | None, ffn: FfnBlock | None) -> None:
        blocks = [each for each in (attention, ffn) if each is not None]
        least = self.layers[-1].index + 1 if self.layers else 0
        index = max(least, self._below.get(all_rows(blocks[0].input), 0) // 2)
        self.layers.append(EncoderLayer(index, attention, ffn))
        for block in blocks:
            self._pass(block.input, block.result)

    def _pass(self, stream: ir.Value, result: ir.Value) -> None:
        self._below[result] = self._below.get(all_rows(stream), 0) + 1


def attention_scale(node: ir.Node) -> float:
    """The scale of an Attention node: its attribute, or 1/sqrt(head size) where it has none.

    Raises:
        UnsupportedError: neither is known.
    """
    attribute = node.attributes.get("scale")
    if attribute is not None:
        return float(attribute.as_float())
    hidden = static_dim(node.inputs[0], -1)
    if hidden is None:
        raise UnsupportedError(f"the head size of {node.name} is not known when compiling", _SUPPORTED)
    return 1.0 / math.sqrt(hidden // attribute_int(node, "q_num_heads", 1))


def _tables(graph: ir.Graph) -> Iterator[ir.Node]:
    for node in graph:
        if op(node, "Gather") and attribute_int(node, "axis", 0) == 0:
            table = constant(node.inputs[0])
            if (
                table is not None
                and table.ndim == 2
                and table.dtype.kind == "f"
                and constant(node.inputs[1]) is None
            ):
                yield node
