"""A LayerNorm written out as means and powers, as one LayerNormalization."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compiler.ir.edit import (
    attribute_ints,
    constant,
    make_node,
    only_consumer,
    op,
    produced_by,
    replace_value,
    scalar,
    static_dim,
    sweep,
)
from compiler.passes.base import Declined, Pass, PassResult


@dataclass(frozen=True, slots=True)
class _Match:
    x: ir.Value
    gamma: ir.Value
    beta: ir.Value
    epsilon: float
    result: ir.Node


@dataclass(frozen=True)
class FuseLayerNorm(Pass):
    """`(x - mean) / sqrt(mean((x - mean)^2) + eps) * gamma + beta` over the last axis.

    Source: Ba, Kiros and Hinton 2016, "Layer Normalization", equations 3 and 4.
    """

    def run(self, model: ir.Model) -> PassResult:
        """Rewrite around every Sqrt."""
        count, declined = 0, []
        for root in [each for each in model.graph if op(each, "Sqrt")]:
            match = _match(root)
            if match is None:
                declined.append(
                    Declined(str(root.name), "the Sqrt is not part of a LayerNorm over the last axis")
                )
                continue
            _rewrite(model.graph, match)
            count += 1
        removed = sweep(model.graph)
        return PassResult(count + removed > 0, {"layer_norm": count}, tuple(declined))


def _rewrite(graph: ir.Graph, match: _Match) -> None:
    out = match.result.outputs[0]
    attributes = {"axis": -1, "epsilon": match.epsilon}
    node = make_node(
        "LayerNormalization",
        [match.x, match.gamma, match.beta],
        name=f"{match.result.name}_layer_norm",
        attributes=attributes,
        dtype=out.dtype,
        shape=out.shape,
    )
    graph.insert_after(match.result, [node])
    replace_value(out, node.outputs[0])


def _match(root: ir.Node) -> _Match | None:
    shifted = produced_by(root.inputs[0], "Add")
    if shifted is None:
        return None
    epsilon = next((n for n in map(scalar, shifted.inputs) if n is not None), None)
    variance = next((n for v in shifted.inputs if (n := produced_by(v, "ReduceMean")) is not None), None)
    centered = _centered(variance)
    if epsilon is None or centered is None:
        return None
    x = centered.inputs[0]
    mean = produced_by(centered.inputs[1], "ReduceMean")
    if x is None or mean is None or mean.inputs[0] is not x or not _over_last_axis(mean):
        return None
    divided = only_consumer(root.outputs[0])
    numerator = None if divided is None or not op(divided, "Div") else produced_by(divided.inputs[0], "Sub")
    if divided is None or numerator is None or not _same_inputs(numerator, centered):
        return None
    return _affine(x, divided, epsilon)


def _centered(variance: ir.Node | None) -> ir.Node | None:
    if variance is None or not _over_last_axis(variance):
        return None
    square = produced_by(variance.inputs[0], "Pow", "Mul")
    if square is None:
        return None
    if op(square, "Pow") and scalar(square.inputs[1]) != 2.0:
        return None
    if op(square, "Mul") and square.inputs[0] is not square.inputs[1]:
        return None
    return produced_by(square.inputs[0], "Sub")


def _affine(x: ir.Value, divided: ir.Node, epsilon: float) -> _Match | None:
    scaled = only_consumer(divided.outputs[0])
    if scaled is None or not op(scaled, "Mul"):
        return None
    moved = only_consumer(scaled.outputs[0])
    if moved is None or not op(moved, "Add"):
        return None
    gamma = next((v for v in scaled.inputs if _is_vector(v)), None)
    beta = next((v for v in moved.inputs if _is_vector(v)), None)
    if gamma is None or beta is None or static_dim(gamma, 0) != static_dim(beta, 0):
        return None
    if static_dim(x, -1) not in (None, static_dim(gamma, 0)):
        return None
    return _Match(x, gamma, beta, epsilon, moved)


def _same_inputs(one: ir.Node, other: ir.Node) -> bool:
    return tuple(one.inputs) == tuple(other.inputs)


def _is_vector(value: ir.Value | None) -> bool:
    array = constant(value)
    return array is not None and array.ndim == 1


def _over_last_axis(node: ir.Node) -> bool:
    axes = attribute_ints(node, "axes")
    if axes is None and len(node.inputs) > 1:
        array = constant(node.inputs[1])
        axes = None if array is None else tuple(int(each) for each in array.reshape(-1))
    value = node.inputs[0]
    rank = len(value.shape) if value is not None and value.shape is not None else None
    return (
        axes is not None and len(axes) == 1 and (axes[0] == -1 or (rank is not None and axes[0] == rank - 1))
    )
