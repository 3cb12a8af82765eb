"""What each op does to the channels of its operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

from compiler.ir.edit import attribute_int, attribute_ints, constant, op
from compiler.prune.axis_broadcast import aligned, broadcast, keep, named, size_of
from compiler.prune.axis_labels import Label, Labels, Touch
from compiler.prune.axis_moves import (
    concat,
    gather,
    reshape,
    shape,
    slice_,
    split,
    squeeze,
    transpose,
    unsqueeze,
)

Rule = Callable[[Labels, ir.Node], bool]
"""Labels the results; False where it cannot, and nothing that the node touches may be cut."""

_KEEP: Final = (
    *("Gelu", "Relu", "LeakyRelu", "Elu", "Selu", "Swish", "HardSwish", "HardSigmoid", "Mish", "Softplus"),
    *("Softsign", "Tanh", "Sigmoid", "Erf", "Sqrt", "Exp", "Log", "Abs", "Neg", "Reciprocal", "Clip"),
    *("Identity", "Cast", "IsNaN", "Not"),
)
_BROADCAST: Final = (
    *("Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Where"),
    *("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And", "Or"),
)
_REDUCE: Final = (
    *("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2"),
    *("ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp"),
)


def apply(labels: Labels, node: ir.Node) -> None:
    """Label what a node makes, and stop the channels of an op that is not known."""
    rule = RULES.get(node.op_type) if op(node, node.op_type) else None
    more = node.outputs[1:] if node.op_type != "Split" else ()
    plain = not any(each.uses() or each.is_graph_output() for each in more)
    if rule is not None and plain and rule(labels, node):
        return
    for value in node.inputs:
        for label in labels.labelled(value):
            labels.stop(label, f"what {node.name} ({node.op_type}) does with it is not known")


def _matmul(labels: Labels, node: ir.Node) -> bool:
    left, right = node.inputs
    weight = constant(right)
    axes = labels.axes(left)
    if weight is None or weight.ndim != 2 or constant(left) is not None:
        return _product_of_two(labels, node)
    if axes is None or not axes:
        return False
    if axes[-1] is not None:
        labels.read(node, 1, 0, axes[-1])
    labels.give(node.outputs[0], (*axes[:-1], labels.write(node, 1, 1, int(weight.shape[1]))))
    return True


def _product_of_two(labels: Labels, node: ir.Node) -> bool:
    """A product of activations, or with a constant that is no matrix: heads pass, what it sums over stops."""
    left, right = (labels.axes(each) for each in node.inputs)
    if left is None or right is None or min(len(left), len(right)) < 2:
        return False
    for label, other in ((left[-1], node.inputs[1]), (right[-2], node.inputs[0])):
        if label is not None:
            labels.stop(label, f"{node.name} sums over it in a product with {named(other)}")
    batch = aligned(labels, node, (left, right), skip=2, cut=False)
    labels.give(node.outputs[0], (*batch, left[-2], right[-1]))
    return True


def _layer_normalization(labels: Labels, node: ir.Node) -> bool:
    operands = [labels.axes(each) for each in node.inputs]
    known = [each for each in operands if each is not None]
    if len(known) < len(operands) or any(len(each) > len(known[0]) for each in known):
        return False
    _stop_axes(labels, node, known[0][attribute_int(node, "axis", -1) :], "normalizes over it")
    labels.give(node.outputs[0], aligned(labels, node, known))
    return True


def _softmax(labels: Labels, node: ir.Node) -> bool:
    axes = labels.axes(node.inputs[0])
    if axes is None:
        return False
    _stop_axes(labels, node, [axes[attribute_int(node, "axis", -1)]], "normalizes over it")
    labels.give(node.outputs[0], axes)
    return True


def _reduce(labels: Labels, node: ir.Node) -> bool:
    axes, reduced = labels.axes(node.inputs[0]), _reduced(node)
    if axes is None or reduced is None:
        return False
    places = {each % len(axes) for each in reduced}
    _stop_axes(labels, node, [axes[place] for place in sorted(places)], "reduces it to one number")
    kept = attribute_int(node, "keepdims", 1)
    out = [None if place in places else each for place, each in enumerate(axes)]
    labels.give(node.outputs[0], [each for place, each in enumerate(out) if kept or place not in places])
    return True


def _reduced(node: ir.Node) -> tuple[int, ...] | None:
    given = node.inputs[1] if len(node.inputs) > 1 else None
    if given is None:
        return attribute_ints(node, "axes")
    array = constant(given)
    return None if array is None or not array.size else tuple(int(each) for each in array.reshape(-1))


def _stop_axes(labels: Labels, node: ir.Node, axes: Sequence[Label | None], what: str) -> None:
    for label in axes:
        if label is not None:
            labels.stop(label, f"{node.op_type} {node.name} {what}")


def _attention(labels: Labels, node: ir.Node) -> bool:
    """Heads: all channels of one, in queries, keys, values and the result, go together."""
    query, key, value = (labels.axes(each) for each in node.inputs[:3])
    heads = attribute_int(node, "q_num_heads", 0)
    shared = attribute_int(node, "kv_num_heads", 0)
    if query is None or key is None or value is None or {len(query), len(key), len(value)} != {3}:
        return False
    if heads < 1 or shared < 1 or heads % shared or any(each is not None for each in node.inputs[4:]):
        return False
    if any(each is not None for axes in (query, key, value) for each in axes[:2]):
        return False
    last = (query[2], key[2], value[2])
    found = [each for each in last if each is not None]
    if not found:
        return True
    counts = (heads, shared, shared)
    blocks = [
        (each, n) for each, n in zip(last, counts, strict=True) if each is not None and len(each) % n == 0
    ]
    if len(blocks) < 3 or not _same_for_heads(labels, node):
        return False
    first = blocks[0][0].reshape(heads, -1)[:, 0]
    for label, count in blocks:
        _join_heads(labels, node, first, label, heads // count)
    for label in found:
        labels.attentions.append(Touch(node, label))
    labels.give(node.outputs[0], (None, None, _repeated(blocks[2][0], shared, heads)))
    return True


def _join_heads(labels: Labels, node: ir.Node, first: Label, label: Label, repeat: int) -> None:
    reason = f"{node.name} mixes it with what cannot be cut"
    for column in label.reshape(len(first) // repeat, -1).T:
        labels.join(first, np.repeat(column, repeat), reason)


def _repeated(label: Label, shared: int, heads: int) -> Label:
    return np.repeat(label.reshape(shared, -1), heads // shared, axis=0).reshape(-1)


def _same_for_heads(labels: Labels, node: ir.Node) -> bool:
    """Whether the mask, if there is one, does not have one for each head."""
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    axes = labels.axes(mask)
    if axes is None or labels.labelled(mask):
        return False
    return len(axes) < 3 or size_of(mask, -3) == 1


RULES: Final[Mapping[str, Rule]] = {
    **dict.fromkeys(_KEEP, keep),
    **dict.fromkeys(_BROADCAST, broadcast),
    **dict.fromkeys(_REDUCE, _reduce),
    "MatMul": _matmul,
    "Gather": gather,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    "Squeeze": squeeze,
    "Reshape": reshape,
    "Split": split,
    "Concat": concat,
    "Slice": slice_,
    "Shape": shape,
    "LayerNormalization": _layer_normalization,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "Attention": _attention,
}
"""By op type, of the standard domain."""
