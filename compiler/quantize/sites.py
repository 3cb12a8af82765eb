"""The places of a graph where an activation is quantized."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.blocks import AttentionBlock
from compiler.ir.edit import only_consumer
from compiler.ir.encoder import EncoderGraph
from compiler.ir.linear import Linear, linear_making, linears_of
from compiler.quantize.plan import HEAD


@dataclass(frozen=True, slots=True)
class Fold:
    """The projection that makes a value, where scale and shift can be put at no cost.

    Attributes:
        into: the linear layer.
        columns: those of its outputs that become the value.
    """

    into: Linear
    columns: slice


@dataclass(frozen=True, slots=True)
class Site:
    """One activation and the linear layers that read it.

    Attributes:
        value: the activation, [..., in].
        linears: its readers, in graph order.
        role: of the first reader, `HEAD` outside the encoder.
        fold: for an attention's context, the values' projection.
    """

    value: ir.Value
    linears: tuple[Linear, ...]
    role: str
    fold: Fold | None

    @property
    def weight(self) -> NDArray[np.float32]:
        """The readers' weights side by side, [in, sum of out]."""
        return np.concatenate([each.weight_array for each in self.linears], axis=1)

    @property
    def bias(self) -> NDArray[np.float32]:
        """The readers' biases end to end, zero where there is none."""
        parts = [
            np.zeros(each.weight_array.shape[1], np.float32) if each.bias_array is None else each.bias_array
            for each in self.linears
        ]
        return np.concatenate(parts)

    @property
    def can_shift(self) -> bool:
        """Whether every layer concerned has a bias to put a shift into."""
        concerned = self.linears if self.fold is None else (*self.linears, self.fold.into)
        return all(each.bias_value is not None for each in concerned)


def sites_of(model: ir.Model) -> list[Site]:
    """Every site, in the order in which the graph computes them."""
    encoder = EncoderGraph.find(model)
    roles = encoder.roles()
    attentions = (layer.attention for layer in encoder.layers)
    contexts = {each.node.outputs[0]: each for each in attentions if each is not None}
    by_value: dict[ir.Value, list[Linear]] = {}
    for linear in linears_of(model.graph):
        by_value.setdefault(linear.input, []).append(linear)
    return [
        Site(value, tuple(linears), roles.get(linears[0].name, HEAD), _fold(contexts.get(value)))
        for value, linears in by_value.items()
    ]


def _fold(attention: AttentionBlock | None) -> Fold | None:
    source = None if attention is None else attention.node.inputs[2]
    if attention is None or source is None or only_consumer(source) is None:
        return None
    direct = linear_making(source)
    if direct is not None:
        return Fold(direct, slice(0, direct.weight_array.shape[1]))
    split = source.producer()
    if attention.value is None or split is None:
        return None
    shapes = [out.shape for out in split.outputs[: (source.index() or 0) + 1]]
    widths = [shape[-1] for shape in shapes if shape is not None]
    if len(widths) != len(shapes) or not all(isinstance(width, int) for width in widths):
        return None
    ends = np.cumsum([int(str(width)) for width in widths])
    return Fold(attention.value, slice(int(ends[-1] - int(str(widths[-1]))), int(ends[-1])))
