"""The two blocks of an encoder layer, each with its addition and LayerNormalization."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compiler.ir.edit import attribute_int, constant, op, produced_by, static_dim
from compiler.ir.linear import Linear, linear_at, linear_making

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


class NotALayerError(Exception):
    """Why an Attention is not part of a layer that this code knows."""


def find_attention(node: ir.Node) -> AttentionBlock:
    """The block around an Attention node.

    Raises:
        NotALayerError: it is not part of one.
    """
    output = _reader_linear(node.outputs[0], "the attention's result")
    residual, norm, source = _residual_norm(output.output)
    query, key, value = (_projection(each) for each in node.inputs[:3])
    return AttentionBlock(source, node, query, key, value, output, residual, norm)


def find_ffn(stream: ir.Value) -> FfnBlock:
    """The block that reads a residual stream.

    Raises:
        NotALayerError: there is none.
    """
    up, down = _up_and_down(stream)
    residual, norm, source = _residual_norm(down.output)
    if source is not stream:
        raise NotALayerError(
            "the feed-forward network's residual is not the attention's LayerNorm (pre-norm?)"
        )
    return FfnBlock(stream, up, down, residual, norm)


def stream_of_cut(norm: ir.Node) -> ir.Value | None:
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


def is_cut_after(stream: ir.Value) -> bool:
    """Whether a block of which pruning left nothing reads a stream."""
    readers = [use.node for use in stream.uses()]
    norms = [*readers, *(use.node for each in readers if op(each, "Add") for use in each.outputs[0].uses())]
    return any(stream_of_cut(each) is stream for each in norms)


def all_rows(stream: ir.Value) -> ir.Value:
    """The stream that a last layer on one row takes its row from; any other as it is."""
    pick = produced_by(stream, "Gather")
    return stream if pick is None or pick.inputs[0] is None else pick.inputs[0]


def _projection(value: ir.Value | None) -> Linear | None:
    split = produced_by(value, "Split")
    return linear_making(value if split is None else split.inputs[0])


def _reader_linear(value: ir.Value, what: str) -> Linear:
    readers = _linear_readers(value)
    if len(readers) != 1 or len(value.uses()) != 1:
        raise NotALayerError(f"{what} is not read by one linear layer alone")
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
    raise NotALayerError("no residual addition and LayerNorm follow a projection (pre-norm?)")


def _up_and_down(stream: ir.Value) -> tuple[Linear, Linear]:
    for up in _linear_readers(stream):
        down = _through_activation(up.output)
        if down is not None:
            return up, down
    raise NotALayerError("no feed-forward network follows the attention")


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
