"""The structure of a BERT-family encoder, found in the graph by topology and never by names."""

from __future__ import annotations

import math
from collections.abc import Iterator
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
class EncoderLayer:
    """One transformer layer.

    Attributes:
        index: counted from the embeddings.
        input: the residual stream that enters it, [batch, sequence, hidden].
        attention: the Attention node.
        query, key, value: their projections; one and the same layer after FuseQkv.
        attention_output: the projection that follows the attention.
        attention_residual, attention_norm: the Add and the LayerNormalization after it.
        ffn_up, ffn_down: the two feed-forward projections.
        ffn_residual, ffn_norm: the Add and the LayerNormalization after them.
    """

    index: int
    input: ir.Value
    attention: ir.Node
    query: Linear | None
    key: Linear | None
    value: Linear | None
    attention_output: Linear
    attention_residual: ir.Node
    attention_norm: ir.Node
    ffn_up: Linear
    ffn_down: Linear
    ffn_residual: ir.Node
    ffn_norm: ir.Node

    @property
    def output(self) -> ir.Value:
        """The residual stream that leaves it, [batch, sequence, hidden]."""
        return self.ffn_norm.outputs[0]

    @property
    def heads(self) -> int:
        """The number of attention heads."""
        return attribute_int(self.attention, "q_num_heads", 1)

    @property
    def head_size(self) -> int:
        """Channels of one head."""
        width = static_dim(self.attention.inputs[0], -1)
        return 0 if width is None else width // self.heads

    @property
    def intermediate(self) -> int:
        """Neurons of the feed-forward network."""
        return int(self.ffn_up.weight_array.shape[1])

    @property
    def linears(self) -> tuple[tuple[str, Linear], ...]:
        """The layer's products by role, each product once."""
        roles = [("query", self.query), ("key", self.key), ("value", self.value)]
        named = [(role, each) for role, each in roles if each is not None]
        by_node: dict[ir.Node, tuple[str, Linear]] = {}
        for role, each in named:
            known = by_node.get(each.matmul)
            by_node[each.matmul] = (role if known is None else f"{known[0]}+{role}", each)
        rest = [
            ("attention_output", self.attention_output),
            ("ffn_up", self.ffn_up),
            ("ffn_down", self.ffn_down),
        ]
        return (*by_node.values(), *rest)


@dataclass(frozen=True, slots=True, eq=False)
class EncoderGraph:
    """What was found in a graph.

    Attributes:
        layers: from the embeddings upward.
        tables: the Gathers from constant tables: word, position and type embeddings.
        declined: attention that is there but not part of a layer that this code knows, with the reason.
    """

    layers: tuple[EncoderLayer, ...]
    tables: tuple[ir.Node, ...]
    declined: tuple[str, ...]

    @staticmethod
    def find(model: ir.Model) -> EncoderGraph:
        """Look for every encoder layer around the Attention nodes of `model`."""
        layers: list[EncoderLayer] = []
        declined: list[str] = []
        for node in model.graph:
            if op(node, "Softmax"):
                declined.append(f"{node.name}: its attention was not recognized")
            if not op(node, "Attention"):
                continue
            try:
                layers.append(_layer(node, len(layers)))
            except _NotALayerError as reason:
                declined.append(f"{node.name}: {reason}")
        return EncoderGraph(tuple(layers), tuple(_tables(model.graph)), tuple(declined))

    def require(self) -> EncoderGraph:
        """This graph, if all of it was understood.

        Raises:
            UnsupportedError: there is no encoder layer, or attention that is not part of one.
        """
        if self.declined:
            raise UnsupportedError(f"the model is not understood: {self.declined[0]}", _SUPPORTED)
        if not self.layers:
            raise UnsupportedError("the model has no transformer encoder layer", _SUPPORTED)
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


def _layer(attention: ir.Node, index: int) -> EncoderLayer:
    output = _reader_linear(attention.outputs[0], "the attention's result")
    residual, norm, source = _residual_norm(output.output)
    stream = norm.outputs[0]
    up, down = _ffn(stream)
    ffn_residual, ffn_norm, ffn_source = _residual_norm(down.output)
    if ffn_source is not stream:
        raise _NotALayerError(
            "the feed-forward network's residual is not the attention's LayerNorm (pre-norm?)"
        )
    query, key, value = (_projection(each) for each in attention.inputs[:3])
    return EncoderLayer(
        index, source, attention, query, key, value, output, residual, norm, up, down, ffn_residual, ffn_norm
    )


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


def _ffn(stream: ir.Value) -> tuple[Linear, Linear]:
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
