"""A graph without the channels that were removed: smaller dense matrices, which every runtime runs faster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import add_initializer, replace_value, sweep
from compiler.ir.execute import clone
from compiler.ir.linear import Linear
from compiler.prune.modules import PrunableModule, find_modules


@dataclass(frozen=True, slots=True)
class Kept:
    """What is left of a module.

    Attributes:
        groups: the heads or neurons that stay, ascending; with none the stream is left as it is, but for the
            reader's bias.
        weight: [len(groups) * group size, out], the reader's rows; None for those it had.
        bias: [out], the reader's; None for what it had.
    """

    groups: NDArray[np.intp]
    weight: NDArray[np.floating[Any]] | None = None
    bias: NDArray[np.floating[Any]] | None = None


def materialize(model: ir.Model, kept: Mapping[str, Kept]) -> ir.Model:
    """A copy of a graph with modules cut down.

    Args:
        model: the IR that the modules were found in; it is not changed.
        kept: by the module's name; others stay as they are. Weights that several products share are cut for
            each by itself.

    Raises:
        ValueError: a name that is no module's.
    """
    copy = clone(model)
    modules = {each.name: each for each in find_modules(copy).modules}
    for name, each in kept.items():
        if name not in modules:
            raise ValueError(f"{name} cannot be cut down to {len(each.groups)}: there is no such module")
        if len(each.groups):
            _cut(copy.graph, modules[name], each)
        else:
            _cut_out(copy.graph, modules[name], each.bias)
    sweep(copy.graph)
    return copy


def channels(groups: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """The channels of groups that lie side by side."""
    return np.asarray((groups[:, None] * size + np.arange(size)).ravel(), np.intp)


def _cut(graph: ir.Graph, module: PrunableModule, kept: Kept) -> None:
    columns = channels(kept.groups, module.group_size)
    reader = module.reader
    if len(kept.groups) < module.groups:
        for writer in module.writers:
            bias = writer.bias_array
            _set(graph, writer, writer.weight_array[:, columns], None if bias is None else bias[columns])
        for value in module.between:
            if value.shape is not None:
                value.shape = ir.Shape([*value.shape[:-1], len(columns)])
        if module.attention is not None:
            for name in ("q_num_heads", "kv_num_heads"):
                module.attention.attributes[name] = ir.AttrInt64(name, len(kept.groups))
    weight = reader.weight_array[columns] if kept.weight is None else kept.weight
    if len(kept.groups) < module.groups or kept.weight is not None or kept.bias is not None:
        _set(graph, reader, weight, reader.bias_array if kept.bias is None else kept.bias)


def _cut_out(graph: ir.Graph, module: PrunableModule, bias: NDArray[np.floating[Any]] | None) -> None:
    """Leaves the stream plus a bias, or plus the reader's; the rest of the branch is then read by nothing."""
    reader, addition = module.reader, module.total.producer()
    bias = reader.bias_array if bias is None else bias
    if bias is None or addition is None:
        replace_value(module.total, module.residual)
        return
    value = add_initializer(graph, f"{reader.name}_bias_kept", bias.astype(np.float32))
    addition.replace_input_with(list(addition.inputs).index(reader.output), value)


def _set(
    graph: ir.Graph,
    linear: Linear,
    weight: NDArray[np.floating[Any]],
    bias: NDArray[np.floating[Any]] | None,
) -> None:
    name = f"{linear.weight.name}_kept"
    linear.matmul.replace_input_with(1, add_initializer(graph, name, weight.astype(np.float32)))
    old = linear.bias_value
    if linear.add is not None and old is not None and bias is not None:
        value = add_initializer(graph, f"{old.name}_kept", bias.astype(np.float32))
        linear.add.replace_input_with(list(linear.add.inputs).index(old), value)
