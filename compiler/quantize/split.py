"""Outlier channel splitting: a hidden channel of a feed-forward block that outgrows the others, repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import add_initializer, only_consumer, op
from compiler.ir.linear import Linear, linear_making, linears_of
from compiler.quantize.statistics import ChannelRange

ACTIVATIONS: Final = ("Gelu", "Relu", "Tanh", "Sigmoid")
ALIGNMENT: Final = 16
_ORDINARY: Final = 0.99
_MOST: Final = 32


@dataclass(frozen=True, slots=True)
class _Block:
    """Two linear layers with nothing but an activation function, channel by channel, between them."""

    first: Linear
    activation: ir.Node
    second: Linear


def split_outliers(model: ir.Model, known: Mapping[str, ChannelRange]) -> dict[str, ChannelRange]:
    """Repeat outlying hidden channels and divide what reads them by the number of copies, in place.

    The function of the graph stays the same; no copy of a channel needs the range that one alone
    needed, and so neither do the steps of the others nor those of the weights. (Outlier channel splitting,
    Zhao et al. 2019, section 3.2; here activations are split, where the block's first layer can repeat a
    column at no cost but its own.) A channel outlies if its range is beyond that of 99% of them. Widths
    grow by a multiple of `ALIGNMENT` and by a 32nd at most.

    Args:
        model: the float IR, changed in place.
        known: ranges of every layer's input.

    Returns:
        The ranges, those of the changed values with their new channels.
    """
    ranges = dict(known)
    for block in _blocks(model):
        name = str(block.second.input.name)
        if name not in ranges:
            continue
        copies = copies_of(np.maximum(np.abs(ranges[name].low), np.abs(ranges[name].high)))
        if copies.max(initial=1) == 1:
            continue
        extra = np.repeat(np.arange(len(copies)), copies - 1)
        order = np.concatenate([np.arange(len(copies)), extra])
        _repeat(model.graph, block, order, copies)
        ranges[name] = ChannelRange(ranges[name].low[order], ranges[name].high[order], places_of(copies))
    return ranges


def copies_of(reach: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many channels each channel becomes.

    Args:
        reach: largest magnitude of each channel, [channels].
    """
    copies = np.ones(len(reach), np.int64)
    ordinary = float(np.quantile(reach, _ORDINARY))
    if ordinary <= 0.0:
        return copies
    times = np.ceil(reach.astype(np.float64) / (2.0 * ordinary)).clip(1, len(reach))
    wanted = int(times.sum()) - len(reach)
    if wanted == 0:
        return copies
    most = len(reach) // _MOST // ALIGNMENT * ALIGNMENT
    for _ in range(min(-(-wanted // ALIGNMENT) * ALIGNMENT, most)):
        copies[np.argmax(reach / copies)] += 1
    return copies


def places_of(copies: NDArray[np.int64]) -> NDArray[np.float32]:
    """Where each copy is to be shifted, in steps of the quantization: `(i + 1/2) / k - 1/2` for copy i of k.

    Then k copies of x, each rounded, add up to `round(k x)`, k times as fine as one of them: Hermite's
    identity, `sum_i floor(y + i/k) = floor(k y)`, at y = x + 1/(2k). Copies in one place would all be
    rounded alike.

    Args:
        copies: how many channels each channel becomes, [channels].

    Returns:
        float32 [sum of copies]: the first copy of every channel, then the further ones channel by channel.
    """
    further = [np.arange(1, each) for each in copies]
    place = np.concatenate([np.zeros(len(copies)), *further])
    total = np.concatenate([copies, np.repeat(copies, copies - 1)])
    return np.asarray((place + 0.5) / total - 0.5, np.float32)


def _blocks(model: ir.Model) -> list[_Block]:
    readers: dict[ir.Value, list[Linear]] = {}
    for linear in linears_of(model.graph):
        readers.setdefault(linear.input, []).append(linear)
    blocks = []
    for value, linears in readers.items():
        node = value.producer()
        if node is None or not op(node, *ACTIVATIONS) or len(linears) != 1:
            continue
        source = node.inputs[0]
        first = linear_making(source)
        if first is None or source is None or only_consumer(source) is None or only_consumer(value) is None:
            continue
        blocks.append(_Block(first, node, linears[0]))
    return blocks


def _repeat(graph: ir.Graph, block: _Block, order: NDArray[np.int64], copies: NDArray[np.int64]) -> None:
    first, second = block.first, block.second
    _replace(graph, first.matmul, first.weight, first.weight_array[:, order])
    if first.add is not None and first.bias_value is not None and first.bias_array is not None:
        _replace(graph, first.add, first.bias_value, first.bias_array[order])
    shared = second.weight_array / copies[:, None].astype(np.float32)
    _replace(graph, second.matmul, second.weight, shared[order].astype(np.float32))
    for node in (first.matmul, first.add, block.activation):
        if node is not None and node.outputs[0].shape is not None:
            node.outputs[0].shape = ir.Shape([*list(node.outputs[0].shape)[:-1], len(order)])


def _replace(graph: ir.Graph, node: ir.Node, old: ir.Value, array: NDArray[np.float32]) -> None:
    new = add_initializer(graph, f"{old.name}_split", np.ascontiguousarray(array))
    node.replace_input_with(list(node.inputs).index(old), new)
