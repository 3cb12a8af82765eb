"""Attention with its reshapes and transposes, as one Attention over [batch, sequence, hidden]."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.ir.edit import (
    add_initializer,
    constant,
    make_node,
    only_consumer,
    op,
    replace_value,
    scalar,
    sweep,
)
from compiler.ir.mask import MASKED
from compiler.passes.attention_views import NoMatchError, View, find_merge, find_view, scalar_factor
from compiler.passes.base import Declined, Pass, PassResult

_HIDDEN = -1e4


@dataclass(frozen=True, slots=True)
class _Fill:
    """A mask by Where: scores are replaced where `condition` is, or is not, true."""

    condition: ir.Value
    hides_true: bool


@dataclass(frozen=True, slots=True)
class _Softmax:
    node: ir.Node
    scores: ir.Value
    probabilities: ir.Value


@dataclass(frozen=True, slots=True)
class _Scores:
    product: ir.Node
    scale: float
    mask: ir.Value | _Fill | None


@dataclass(frozen=True)
class FuseAttention(Pass):
    """`softmax(s Q K' + mask) V` per head becomes ai.onnx `Attention` (opset 23) on 3-D operands.

    Source: Vaswani et al. 2017, "Attention Is All You Need", equation 1. What the exporters put
    around it (reshapes into heads, transposes, the scale on either side or split over Q and K, NaN
    guards after the softmax, masks by Add or by Where) is absorbed.
    """

    def run(self, model: ir.Model) -> PassResult:
        """Rewrite around every Softmax over the last axis."""
        count, declined = 0, []
        for node in [each for each in model.graph if op(each, "Softmax")]:
            try:
                _rewrite(model.graph, node)
                count += 1
            except NoMatchError as reason:
                declined.append(Declined(str(node.name), str(reason)))
        removed = sweep(model.graph)
        return PassResult(count + removed > 0, {"attention": count}, tuple(declined))


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    softmax = _softmax(node)
    context = _context_product(softmax)
    scores = _scores(softmax)
    query = find_view(scores.product.inputs[0], (0, 2, 1, 3))
    key = find_view(scores.product.inputs[1], (0, 2, 3, 1))
    value = find_view(context.inputs[1], (0, 2, 1, 3))
    if not query.heads == key.heads == value.heads:
        raise NoMatchError("queries, keys and values have different numbers of heads")
    merged = find_merge(context, scores.product, value)
    mask = _materialized(graph, scores.mask, node, merged)
    attributes = {
        "q_num_heads": query.heads,
        "kv_num_heads": key.heads,
        "scale": float(scores.scale * query.scale * key.scale),
    }
    attention = make_node(
        "Attention",
        [query.source, key.source, value.source, *([mask] if mask is not None else [])],
        name=f"{node.name}_attention",
        attributes=attributes,
        dtype=ir.DataType.FLOAT,
        shape=_merged_shape(query, value),
    )
    graph.insert_before(merged, [attention])
    replace_value(merged.outputs[0], attention.outputs[0])


def _merged_shape(query: View, value: View) -> ir.Shape:
    source = query.source.shape
    if source is None:
        raise NoMatchError("the shape of its queries is unknown")
    return ir.Shape([source[0], source[1], value.heads * value.size])


def _softmax(node: ir.Node) -> _Softmax:
    """A Softmax over the last axis, or the flattened one that stands for it before opset 13."""
    scores, out = node.inputs[0], node.outputs[0]
    attribute = node.attributes.get("axis")
    axis = -1 if attribute is None else attribute.as_int()
    rank = None if scores is None or scores.shape is None else len(scores.shape)
    if scores is None or axis not in (-1, None if rank is None else rank - 1):
        raise NoMatchError("its Softmax is not over the last axis")
    flat, view = scores.producer(), only_consumer(out)
    if flat is None or view is None or not op(flat, "Flatten") or not op(view, "Reshape"):
        return _Softmax(node, scores, out)
    source, shape = flat.inputs[0], view.inputs[1]
    shaper = None if shape is None else shape.producer()
    keeps_last = (
        source is not None and source.shape is not None and _flatten_axis(flat) in (-1, len(source.shape) - 1)
    )
    if (
        source is None
        or not keeps_last
        or not op(shaper, "Shape")
        or shaper is None
        or shaper.inputs[0] is not source
    ):
        raise NoMatchError("its Softmax is over a flattened tensor that is not unfolded again")
    return _Softmax(node, source, view.outputs[0])


def _flatten_axis(node: ir.Node) -> int:
    attribute = node.attributes.get("axis")
    return 1 if attribute is None else attribute.as_int()


def _context_product(softmax: _Softmax) -> ir.Node:
    probabilities = softmax.probabilities
    guard = _nan_guard(probabilities)
    if guard is not None:
        probabilities = guard.outputs[0]
    node = only_consumer(probabilities)
    if node is None or not op(node, "MatMul") or node.inputs[0] is not probabilities:
        raise NoMatchError("its probabilities are not read by one product alone")
    return node


def _nan_guard(probabilities: ir.Value) -> ir.Node | None:
    """`Where(IsNaN(p), 0, p)`, when nothing else reads p."""
    readers = {use.node for use in probabilities.uses()}
    guard = next((each for each in readers if op(each, "Where")), None)
    test = next((each for each in readers if op(each, "IsNaN")), None)
    if guard is None or test is None or len(readers) != 2 or probabilities.is_graph_output():
        return None
    condition, when_nan, otherwise = guard.inputs
    matches = condition is test.outputs[0] and otherwise is probabilities and scalar(when_nan) == 0.0
    return guard if matches and only_consumer(test.outputs[0]) is guard else None


def _scores(softmax: _Softmax) -> _Scores:
    current: ir.Value | None = softmax.scores
    scale, mask = 1.0, None
    for _ in range(8):
        node = None if current is None else current.producer()
        if node is None:
            break
        if op(node, "MatMul"):
            return _Scores(node, scale, mask)
        factor = scalar_factor(node)
        if factor is not None:
            scale, current = scale * factor[1], factor[0]
        elif op(node, "Add", "Where") and mask is None and scale == 1.0:
            current, mask = _split_mask(node)
        else:
            break
    raise NoMatchError("its scores are not a scaled and masked product of queries and keys")


def _split_mask(node: ir.Node) -> tuple[ir.Value | None, ir.Value | _Fill | None]:
    if op(node, "Add"):
        first, second = node.inputs
        return (first, second) if _from_product(first) else (second, first)
    condition, when_true, when_false = node.inputs
    if condition is not None and _hides(when_true):
        return when_false, _Fill(condition, hides_true=True)
    if condition is not None and _hides(when_false):
        return when_true, _Fill(condition, hides_true=False)
    raise NoMatchError("a Where in its scores fills in something else than a low constant")


def _hides(value: ir.Value | None) -> bool:
    array = constant(value)
    return array is not None and array.size > 0 and array.dtype.kind == "f" and bool((array <= _HIDDEN).all())


def _materialized(
    graph: ir.Graph, mask: ir.Value | _Fill | None, softmax: ir.Node, before: ir.Node
) -> ir.Value | None:
    if not isinstance(mask, _Fill):
        return mask
    zero = add_initializer(graph, "attention_kept", np.float32(0.0))
    low = add_initializer(graph, "attention_masked", np.float32(MASKED))
    node = make_node(
        "Where",
        [mask.condition, low, zero] if mask.hides_true else [mask.condition, zero, low],
        name=f"{softmax.name}_mask",
        dtype=ir.DataType.FLOAT,
        shape=mask.condition.shape,
    )
    graph.insert_before(before, [node])
    return node.outputs[0]


def _from_product(value: ir.Value | None) -> bool:
    for _ in range(4):
        node = None if value is None else value.producer()
        if node is None:
            return False
        if op(node, "MatMul"):
            return True
        factor = scalar_factor(node)
        if factor is None:
            return False
        value = factor[0]
    return False
