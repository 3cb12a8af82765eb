"""What may be removed from a graph: the heads of each attention, the neurons of each feed-forward network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from compiler.ir.edit import attribute_int, constant, only_consumer, static_dim
from compiler.ir.encoder import AttentionBlock, EncoderGraph, FfnBlock
from compiler.ir.linear import Linear
from compiler.options import Kind


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


def find_modules(model: ir.Model) -> Prunable:
    """Every module of the encoder whose channels are read by nothing else.

    Args:
        model: the float IR after the passes, queries, keys and values apart.
    """
    modules: list[PrunableModule] = []
    declined: dict[str, str] = {}
    for layer in EncoderGraph.find(model).layers:
        for block in layer.blocks:
            name = f"layer{layer.index}.{_kind(block)}"
            try:
                modules.append(_module(name, block))
            except _DeclinedError as reason:
                declined[name] = str(reason)
    return Prunable(tuple(modules), declined)


def _kind(block: AttentionBlock | FfnBlock) -> Kind:
    return "heads" if isinstance(block, AttentionBlock) else "ffn"


def _module(name: str, block: AttentionBlock | FfnBlock) -> PrunableModule:
    return _heads(name, block) if isinstance(block, AttentionBlock) else _ffn(name, block)


def _heads(name: str, block: AttentionBlock) -> PrunableModule:
    attention, reader = block.node, block.output
    writers = tuple(each for each in (block.query, block.key, block.value) if each is not None)
    if len({each.matmul for each in writers}) != 3:
        raise _DeclinedError("queries, keys and values are not three products")
    if attribute_int(attention, "kv_num_heads", block.heads) != block.heads:
        raise _DeclinedError("heads share keys and values")
    for writer, value in zip(writers, attention.inputs, strict=False):
        if value is not writer.output or only_consumer(writer.output) is not attention:
            raise _DeclinedError(f"the result of {writer.name} is read by more than the attention")
    context = attention.outputs[0]
    if reader.input is not context:
        raise _DeclinedError("something lies between the attention and its output projection")
    between = (*_made(writers), context)
    return PrunableModule(
        name, "heads", block.heads, block.head_size, writers, reader, between,
        *_stream(block.residual, reader), attention,
    )  # fmt: skip


def _ffn(name: str, block: FfnBlock) -> PrunableModule:
    up, down = block.up, block.down
    between = (*_made((up,)), *_elementwise(up.output, down))
    stream = _stream(block.residual, down)
    return PrunableModule(name, "ffn", block.intermediate, 1, (up,), down, between, *stream, None)


def _made(writers: tuple[Linear, ...]) -> Iterator[ir.Value]:
    for each in writers:
        yield each.matmul.outputs[0]
        if each.add is not None:
            yield each.add.outputs[0]


def _elementwise(start: ir.Value, reader: Linear) -> Iterator[ir.Value]:
    """The values between two products; every other operand must be one number."""
    frontier, seen = [start], {start}
    while frontier:
        for use in frontier.pop().uses():
            node = use.node
            if node is reader.matmul:
                continue
            for operand in node.inputs:
                array = constant(operand)
                if array is not None and array.size > 1:
                    raise _DeclinedError(f"{node.name} has an operand for each channel")
            result = node.outputs[0]
            if result not in seen:
                seen.add(result)
                frontier.append(result)
                yield result


def _stream(addition: ir.Node, reader: Linear) -> tuple[ir.Value, ir.Value]:
    residual = next(each for each in addition.inputs if each is not None and each is not reader.output)
    return residual, addition.outputs[0]
