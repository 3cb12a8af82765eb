"""Writes scales and shifts of activations into the float graph, which computes the same function."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import add_initializer, make_node
from compiler.ir.linear import Linear
from compiler.quantize.sites import Fold, Site
from compiler.quantize.smooth import Transform


def apply_smoothing(graph: ir.Graph, site: Site, transform: Transform) -> None:
    """Divide and shift what the site's layers read, and change the layers to match, in place.

    The values' scale and shift go into their projection: the rows of an attention's probabilities sum
    to one, so a shift of the values is the same shift of the context. Elsewhere a Mul and an Add
    stand before the quantization, and the residual stream, which reads the same value, stays as it was.
    """
    if not transform.changes:
        return
    for linear in site.linears:
        weight = linear.weight_array
        if transform.shifted:
            _set_bias(graph, linear, _bias(linear) + transform.offset(weight), "shifted")
        _set_weight(graph, linear, transform.weight(weight), "smoothed")
    if site.fold is not None:
        _divide_columns(graph, site.fold, transform)
        return
    value = site.value
    if transform.alpha:
        value = _before(graph, site, value, "Mul", 1.0 / transform.scale)
    if transform.shifted:
        value = _before(graph, site, value, "Add", -transform.shift / transform.scale)
    for linear in site.linears:
        linear.matmul.replace_input_with(0, value)


def _before(
    graph: ir.Graph, site: Site, value: ir.Value, op_type: str, operand: NDArray[np.float32]
) -> ir.Value:
    what = "smooth" if op_type == "Mul" else "shift"
    constant = add_initializer(graph, f"{site.value.name}_{what}ing", operand.astype(np.float32))
    node = make_node(
        op_type,
        [value, constant],
        name=f"{site.value.name}_{what}",
        dtype=site.value.dtype,
        shape=site.value.shape,
    )
    graph.insert_before(site.linears[0].matmul, [node])
    return node.outputs[0]


def _divide_columns(graph: ir.Graph, fold: Fold, transform: Transform) -> None:
    weight = fold.into.weight_array.copy()
    weight[:, fold.columns] /= transform.scale
    _set_weight(graph, fold.into, weight, "divided")
    if fold.into.bias_value is not None:
        bias = _bias(fold.into).copy()
        bias[fold.columns] = transform(bias[fold.columns])
        _set_bias(graph, fold.into, bias, "divided")


def _bias(linear: Linear) -> NDArray[np.float32]:
    bias = linear.bias_array
    return np.zeros(linear.weight_array.shape[1], np.float32) if bias is None else bias


def _set_weight(graph: ir.Graph, linear: Linear, weight: NDArray[np.float32], what: str) -> None:
    linear.matmul.replace_input_with(1, add_initializer(graph, f"{linear.weight.name}_{what}", weight))


def _set_bias(graph: ir.Graph, linear: Linear, bias: NDArray[np.float32], what: str) -> None:
    value = linear.bias_value
    if linear.add is None or value is None:
        return
    position = list(linear.add.inputs).index(value)
    linear.add.replace_input_with(position, add_initializer(graph, f"{value.name}_{what}", bias))
