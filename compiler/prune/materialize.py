"""A graph without the channels that were removed: smaller dense matrices, which every runtime runs faster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import add_initializer, replace_value, sweep
from compiler.ir.execute import clone
from compiler.ir.linear import Linear, linears_of
from compiler.prune.modules import PrunableModule, find_modules

Groups: TypeAlias = NDArray[np.intp]
"""Heads or neurons, ascending."""
Weights: TypeAlias = tuple[NDArray[np.floating[Any]], NDArray[np.floating[Any]] | None]
"""A product's weight [in, out] and bias [out]; None for the bias that it had."""


def materialize(
    model: ir.Model,
    kept: Mapping[str, Groups],
    weights: Mapping[str, Weights] | None = None,
) -> ir.Model:
    """A copy of a graph with other weights and modules cut down.

    Args:
        model: the IR that the modules were found in; it is not changed.
        kept: the groups that stay, by the module's name; modules not named stay whole. With none the stream
            is left as it is, but for the reader's bias. Weights that several products share are cut for
            each by itself.
        weights: by the product's name, at the shapes that they have in `model`.

    Raises:
        ValueError: a name that is no module's or product's.
    """
    copy = clone(model)
    linears = {each.name: each for each in linears_of(copy.graph)}
    modules = {each.name: each for each in find_modules(copy).modules}
    unknown = [*(set(kept) - set(modules)), *(set(weights or {}) - set(linears))]
    if unknown:
        raise ValueError(f"{sorted(unknown)[0]} cannot be cut down: it is not there")
    for name, (weight, bias) in (weights or {}).items():
        _set(copy.graph, linears[name], weight, bias)
    for name, groups in kept.items():
        if not len(groups):
            _cut_out(copy.graph, modules[name])
        elif len(groups) < modules[name].groups:
            _cut(copy.graph, modules[name], groups)
    sweep(copy.graph)
    return copy


def channels(groups: Groups, size: int) -> NDArray[np.intp]:
    """The channels of groups that lie side by side."""
    return np.asarray((groups[:, None] * size + np.arange(size)).ravel(), np.intp)


def _cut(graph: ir.Graph, module: PrunableModule, groups: Groups) -> None:
    columns = channels(groups, module.group_size)
    for writer in module.writers:
        bias = writer.bias_array
        _set(graph, writer, writer.weight_array[:, columns], None if bias is None else bias[columns])
    for value in module.between:
        if value.shape is not None:
            value.shape = ir.Shape([*value.shape[:-1], len(columns)])
    if module.attention is not None:
        for name in ("q_num_heads", "kv_num_heads"):
            module.attention.attributes[name] = ir.AttrInt64(name, len(groups))
    _set(graph, module.reader, module.reader.weight_array[columns], None)


def _cut_out(graph: ir.Graph, module: PrunableModule) -> None:
    """Leaves the stream plus the reader's bias; the rest of the branch is then read by nothing."""
    reader, addition = module.reader, module.total.producer()
    bias = reader.bias_array
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
