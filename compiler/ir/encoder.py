"""The structure of a BERT-family encoder, found in the graph by topology and never by names."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import onnx_ir as ir

from compiler.ir.edit import attribute_int, constant, op, produced_by, static_dim, upstream
from compiler.ir.linear import Linear, linear_at, linear_making
from targets.errors import UnsupportedError

_ACTIVATIONS = (
    "Gelu",
    "Relu",
    "LeakyRelu",
    "Elu",
    "Swish",
    "HardSwish",
    "HardSigmoid",
    "Mish",
    "Softplus",
    "Clip",
)
_ELEMENTWISE = (
    *_ACTIVATIONS,
    "Tanh",
    "Sigmoid",
    "Mul",
    "Add",
    "Div",
    "Pow",
    "Erf",
    "Sqrt",
    "Sub",
    "Min",
    "Max",
)
_SUPPORTED = "bertc compiles post-norm encoders: BERT, RoBERTa, DistilBERT, ELECTRA, MiniLM and XLM-RoBERTa"


@dataclass(frozen=True, slots=True, eq=False)
class AttentionBlock:
    """The attention of a layer, with the addition and the LayerNormalization after it.

    Attributes:
        input: the residual stream that enters it; in a last layer on one row, that row.
        node: the Attention.
        query, key, value: their projections; one and the same layer after FuseQkv.
        output: the projection that follows.
        residual, norm: the Add and the LayerNormalization after it.
    """

    input: ir.Value
    node: ir.Node
    query: Linear | None
    key: Linear | None
    value: Linear | None
    output: Linear
    residual: ir.Node
    norm: ir.Node

    @property
    def result(self) -> ir.Value:
        """The residual stream that leaves it."""
        return self.norm.outputs[0]

    @property
    def heads(self) -> int:
        """The number of attention heads."""
        return attribute_int(self.node, "q_num_heads", 1)

    @property
    def head_size(self) -> int:
        """Channels of one head."""
        width = static_dim(self.node.inputs[0], -1)
        return 0 if width is None else width // self.heads

    @property
    def linears(self) -> tuple[tuple[str, Linear], ...]:
        """The products by role, each product once."""
        roles = [("query", self.query), ("key", self.key), ("value", self.value)]
        by_node: dict[ir.Node, tuple[str, Linear]] = {}
        for role, each in roles:
            if each is not None:
                known = by_node.get(each.matmul)
                by_node[each.matmul] = (role if known is None else f"{known[0]}+{role}", each)
        return (*by_node.values(), ("attention_output", self.output))


@dataclass(frozen=True, slots=True, eq=False)
class FfnBlock:
    """The feed-forward network of a layer, with the addition and the LayerNormalization after it.

    Attributes:
        input: the residual stream that enters it.
        up, down: its two projections.
        residual, norm: the Add and the LayerNormalization after them.
    """

    input: ir.Value
    up: Linear
    down: Linear
    residual: ir.Node
    norm: ir.Node

    @property
    def result(self) -> ir.Value:
        """The residual stream that leaves it."""
        return self.norm.outputs[0]

    @property
    def intermediate(self) -> int:
        """The number of neurons."""
        return int(self.up.weight_array.shape[1])

    @property
    def linears(self) -> tuple[tuple[str, Linear], ...]:
        """The products by role."""
        return ("ffn_up", self.up), ("ffn_down", self.down)


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


class _NotALayerError(Exception):
    """Why an Attention is not part of a layer that this code knows."""


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
                attention = _attention(node)
                cut = _is_cut_after(attention.result)
                self._add(attention, None if cut else _ffn(attention.result))
            except _NotALayerError as reason:
                self.declined.append(f"{node.name}: {reason}")
        elif (stream := _cut(node)) is not None and self._is_residual(_all_rows(stream)):
            self._pass(stream, node.outputs[0])
            with suppress(_NotALayerError):
                self._add(None, _ffn(node.outputs[0]))

    def _is_residual(self, stream: ir.Value) -> bool:
        """Whether a norm makes it, or the projection of embeddings that are narrower than the encoder."""
        first = not self._below and linear_making(stream) is not None
        return first or produced_by(stream, "LayerNormalization") is not None

    def _add(self, attention: AttentionBlock | None, ffn: FfnBlock | None) -> None:
        blocks = [each for each in (attention, ffn) if each is not None]
        least = self.layers[-1].index + 1 if self.layers else 0
        index = max(least, self._below.get(_all_rows(blocks[0].input), 0) // 2)
        self.layers.append(EncoderLayer(index, attention, ffn))
        for block in blocks:
            self._pass(block.input, block.result)

    def _pass(self, stream: ir.Value, result: ir.Value) -> None:
        self._below[result] = self._below.get(_all_rows(stream), 0) + 1


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


def _attention(node: ir.Node) -> AttentionBlock:
    output = _reader_linear(node.outputs[0], "the attention's result")
    residual, norm, source = _residual_norm(output.output)
    query, key, value = (_projection(each) for each in node.inputs[:3])
    return AttentionBlock(source, node, query, key, value, output, residual, norm)


def _ffn(stream: ir.Value) -> FfnBlock:
    up, down = _up_and_down(stream)
    residual, norm, source = _residual_norm(down.output)
    if source is not stream:
        raise _NotALayerError(
            "the feed-forward network's residual is not the attention's LayerNorm (pre-norm?)"
        )
    return FfnBlock(stream, up, down, residual, norm)


def _cut(norm: ir.Node) -> ir.Value | None:
    """What a LayerNormalization reads, less a constant vector added to it; None if it is none.

    That is the stream of a block of which pruning left nothing else, if it is a residual stream.
    """
    if not op(norm, "LayerNormalization"):
        return None
    read = norm.inputs[0]
    add = produced_by(read, "Add")
    if add is None or linear_making(read) is not None or not any(map(_is_vector, add.inputs)):
        return read
    return next((each for each in add.inputs if not _is_vector(each)), None)


def _is_cut_after(stream: ir.Value) -> bool:
    readers = [use.node for use in stream.uses()]
    norms = [*readers, *(use.node for each in readers if op(each, "Add") for use in each.outputs[0].uses())]
    return any(_cut(each) is stream for each in norms)


def _all_rows(stream: ir.Value) -> ir.Value:
    """The stream that a last layer on one row takes its row from; any other as it is."""
    pick = produced_by(stream, "Gather")
    return stream if pick is None or pick.inputs[0] is None else pick.inputs[0]


def _projection(value: ir.Value | None) -> Linear | None:
    split = produced_by(value, "Split")
    return linear_making(value if split is None else split.inputs[0])


def _reader_linear(value: ir.Value, what: str) -> Linear:
    readers = _linear_readers(value)
    if len(readers) != 1 or len(value.uses()) != 1:
        raise _NotALayerError(f"{what} is not read by one linear layer alone")
    return readers[0]


def _linear_readers(value: ir.Value) -> list[Linear]:
    """The linear layers that read `value`, as it is or times and plus constant vectors (smoothing)."""
    found: list[Linear] = []
    for use in value.uses():
        linear = linear_at(use.node)
        if linear is not None:
            found.append(linear)
        elif op(use.node, "Mul", "Add") and any(_is_vector(each) for each in use.node.inputs):
            found.extend(_linear_readers(use.node.outputs[0]))
    return found


def _is_vector(value: ir.Value | None) -> bool:
    array = constant(value)
    return array is not None and array.ndim == 1 and array.size > 1


def _residual_norm(value: ir.Value) -> tuple[ir.Node, ir.Node, ir.Value]:
    for use in value.uses():
        add = use.node
        if not op(add, "Add"):
            continue
        other = next((each for each in add.inputs if each is not value), None)
        norm = next(
            (each.node for each in add.outputs[0].uses() if op(each.node, "LayerNormalization")), None
        )
        if other is not None and norm is not None and len(add.outputs[0].uses()) == 1:
            return add, norm, other
    raise _NotALayerError("no residual addition and LayerNorm follow a projection (pre-norm?)")


def _up_and_down(stream: ir.Value) -> tuple[Linear, Linear]:
    for up in _linear_readers(stream):
        down = _through_activation(up.output)
        if down is not None:
            return up, down
    raise _NotALayerError("no feed-forward network follows the attention")


def _through_activation(value: ir.Value) -> Linear | None:
    frontier, seen = [value], {value}
    found: dict[ir.Node, Linear] = {}
    while frontier:
        for use in frontier.pop().uses():
            linear, out = linear_at(use.node), use.node.outputs[0]
            if linear is not None:
                found[linear.matmul] = linear
            elif not op(use.node, *_ELEMENTWISE):
                return None
            elif out not in seen:
                seen.add(out)
                frontier.append(out)
    return next(iter(found.values())) if len(found) == 1 else None
