"""One additive mask of shape (batch, 1, 1, sequence) for the whole encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import (
    add_initializer,
    make_node,
    op,
    sweep,
    upstream,
)
from compiler.ir.execute import Runner, clone
from compiler.ir.mask import HIDDEN, MASKED, mask_source
from compiler.passes.base import Declined, Pass, PassResult

_NAME = "additive_mask"


@dataclass(frozen=True)
class AdditiveMask(Pass):
    """Replaces whatever builds the attention mask by `(1 - attention_mask) * -30000`.

    What the exporter built is evaluated on two probe batches with padding on either side and inside.
    It is replaced only if, for every query, it adds zero where `attention_mask` is 1 and at most -10000
    (or False, for a boolean mask) where it is 0; a causal or banded mask is therefore declined.

    Attributes:
        input_name: the graph input of shape [batch, sequence] with 1 for tokens and 0 for padding.
    """

    input_name: str = "attention_mask"

    def run(self, model: ir.Model) -> PassResult:
        """Rewrite the mask of every Attention."""
        graph = model.graph
        source = next((each for each in graph.inputs if each.name == self.input_name), None)
        if source is None:
            return PassResult(False, declined=(Declined(self.input_name, "the graph has no such input"),))
        masks = dict.fromkeys(
            node.inputs[3] for node in graph if op(node, "Attention") and len(node.inputs) > 3
        )
        count, declined = 0, []
        for mask in [m for m in masks if m is not None and mask_source(m) is None]:
            reason = _objection(model, mask, source)
            if reason is not None:
                declined.append(Declined(str(mask.name), reason))
                continue
            _replace_in_attention(graph, mask, _shared_mask(graph, source))
            count += 1
        removed = sweep(graph)
        return PassResult(count + removed > 0, {"mask": count}, tuple(declined))


def _shared_mask(graph: ir.Graph, source: ir.Value) -> ir.Value:
    for node in graph:
        if op(node, "Unsqueeze") and mask_source(node.outputs[0]) is source:
            return node.outputs[0]
    shape, dtype = source.shape, ir.DataType.FLOAT
    one = add_initializer(graph, f"{_NAME}_one", np.float32(1.0))
    low = add_initializer(graph, f"{_NAME}_low", np.float32(MASKED))
    axes = add_initializer(graph, f"{_NAME}_axes", np.array([1, 2], np.int64))
    cast = make_node(
        "Cast", [source], name=f"{_NAME}_cast", attributes={"to": int(dtype)}, dtype=dtype, shape=shape
    )
    flip = make_node("Sub", [one, cast.outputs[0]], name=f"{_NAME}_flip", dtype=dtype, shape=shape)
    scale = make_node("Mul", [flip.outputs[0], low], name=f"{_NAME}_scale", dtype=dtype, shape=shape)
    wide = None if shape is None else ir.Shape([shape[0], 1, 1, shape[1]])
    view = make_node("Unsqueeze", [scale.outputs[0], axes], name=_NAME, dtype=dtype, shape=wide)
    first = next(iter(graph))
    graph.insert_before(first, [cast, flip, scale, view])
    return view.outputs[0]


def _replace_in_attention(graph: ir.Graph, mask: ir.Value, replacement: ir.Value) -> None:
    for node in graph:
        if op(node, "Attention") and len(node.inputs) > 3 and node.inputs[3] is mask:
            node.replace_input_with(3, replacement)


def _objection(model: ir.Model, mask: ir.Value, source: ir.Value) -> str | None:
    nodes = upstream(mask)
    reads = {each for node in nodes for each in node.inputs if each is not None and each.is_graph_input()}
    if source not in reads:
        return f"it does not depend on {source.name}"
    runner = Runner(_only(model, str(mask.name)), optimize=False, threads=1)
    rng = np.random.default_rng(0)
    for batch, length in ((3, 7), (2, 12)):
        attention = rng.integers(0, 2, (batch, length))
        attention[:, length // 2] = 1
        attention[0, length // 2 + 1 :] = attention[1, : length // 2] = 0
        feeds = dict.fromkeys(runner.input_names, np.zeros((batch, length), np.int64))
        feeds |= {"input_ids": rng.integers(0, 5, (batch, length)), str(source.name): attention}
        reason = _compare(runner(feeds)[str(mask.name)], attention)
        if reason is not None:
            return reason
    return None


def _compare(mask: NDArray[Any], attention: NDArray[np.int64]) -> str | None:
    batch, length = attention.shape
    try:
        full = np.broadcast_to(mask, (batch, mask.shape[-3] if mask.ndim > 2 else 1, length, length))
    except ValueError:
        return f"its shape {mask.shape} does not broadcast to (batch, heads, sequence, sequence)"
    hidden = np.broadcast_to((attention == 0)[:, None, None, :], full.shape)
    as_hidden = ~full if full.dtype == np.bool_ else full <= HIDDEN
    as_kept = full if full.dtype == np.bool_ else np.abs(full) < 1e-6
    if not (as_hidden[hidden].all() and as_kept[~hidden].all()):
        return "it hides other positions than the padding"
    return None


def _only(model: ir.Model, value_name: str) -> ir.Model:
    copy = clone(model)
    value = next(out for node in copy.graph for out in node.outputs if out.name == value_name)
    copy.graph.outputs.clear()
    copy.graph.outputs.append(value)
    sweep(copy.graph)
    used = [each for each in copy.graph.inputs if each.uses()]
    copy.graph.inputs.clear()
    copy.graph.inputs.extend(used)
    return copy
