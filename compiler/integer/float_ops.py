"""The float operators of the IR: one plain function each, correctly rounded where that is cheap.

Sums and transcendental functions are computed in float64 and rounded to float32 once, so that the reference
follows no runtime's order of summation. Operators that only move or compare data, and rare ones, go through
onnx's own reference implementation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import attribute_int, op

Array = NDArray[Any]
Operator = Callable[[Sequence[Array | None]], Sequence[Array]]

_EPSILON: Final = 1e-5
_CUBIC: Final = 0.044715


def operator(node: ir.Node, opset: int) -> Operator:
    """What a float node computes: its inputs (None for one left out) to its outputs.

    Args:
        node: of the IR.
        opset: of the standard domain.
    """
    makers: dict[str, Callable[[ir.Node], Operator]] = {
        "MatMul": lambda _: _elementwise(np.matmul),
        "Add": lambda _: _elementwise(np.add),
        "Sub": lambda _: _elementwise(np.subtract),
        "Mul": lambda _: _elementwise(np.multiply),
        "Tanh": lambda _: _elementwise(_tanh),
        "Relu": lambda _: _elementwise(lambda x: np.maximum(x, 0)),
        "Gather": _gather,
        "Gelu": _gelu,
        "LayerNormalization": _layer_norm,
        "Softmax": _softmax,
    }
    if op(node, *makers) and len(node.outputs) == 1:
        return makers[node.op_type](node)
    return _onnx_reference(node, opset)


def gelu(x: NDArray[np.float32], *, tanh: bool = False) -> NDArray[np.float32]:
    """`x Phi(x)`, or its approximation by tanh (Hendrycks and Gimpel 2016)."""
    wide = x.astype(np.float64)
    if tanh:
        inner = np.tanh(np.sqrt(2.0 / np.pi) * (wide + _CUBIC * wide**3))
        return np.asarray(0.5 * wide * (1.0 + inner), np.float32)
    return np.asarray(0.5 * wide * (1.0 + erf(wide / np.sqrt(2.0))), np.float32)


def erf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The error function, which numpy lacks."""
    import torch

    found: NDArray[np.float64] = torch.special.erf(torch.from_numpy(np.ascontiguousarray(x))).numpy()
    return found


def layer_norm(
    x: NDArray[np.float32],
    weight: NDArray[np.float32],
    bias: NDArray[np.float32] | None,
    *,
    epsilon: float,
    axes: tuple[int, ...] = (-1,),
) -> NDArray[np.float32]:
    """`(x - mean) / sqrt(variance + epsilon) * weight + bias` over some of the last axes."""
    wide = x.astype(np.float64)
    wide = wide - wide.mean(axis=axes, keepdims=True)
    scale = weight / np.sqrt(np.square(wide).mean(axis=axes, keepdims=True) + epsilon)
    return np.asarray(wide * scale + (0.0 if bias is None else bias), np.float32)


def softmax(x: NDArray[np.float32], axis: int = -1) -> NDArray[np.float32]:
    """`exp(x) / sum exp(x)` along an axis."""
    wide = x.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True), np.float32)


def _elementwise(function: Callable[..., Any]) -> Operator:
    return lambda inputs: [np.asarray(function(*inputs))]


def _tanh(x: Array) -> Array:
    return np.asarray(np.tanh(x.astype(np.float64)), x.dtype)


def _gather(node: ir.Node) -> Operator:
    axis = attribute_int(node, "axis", 0)
    return lambda inputs: [np.take(_given(inputs, 0), _given(inputs, 1), axis=axis)]


def _gelu(node: ir.Node) -> Operator:
    attribute = node.attributes.get("approximate")
    tanh = attribute is not None and attribute.as_string() == "tanh"
    return lambda inputs: [gelu(_given(inputs, 0), tanh=tanh)]


def _layer_norm(node: ir.Node) -> Operator:
    first = attribute_int(node, "axis", -1)
    attribute = node.attributes.get("epsilon")
    epsilon = _EPSILON if attribute is None else attribute.as_float()

    def call(inputs: Sequence[Array | None]) -> list[Array]:
        x, bias = _given(inputs, 0), inputs[2] if len(inputs) > 2 else None
        axes = tuple(range(first % x.ndim, x.ndim))
        return [layer_norm(x, _given(inputs, 1), bias, epsilon=epsilon, axes=axes)]

    return call


def _softmax(node: ir.Node) -> Operator:
    axis = attribute_int(node, "axis", -1)
    return lambda inputs: [softmax(_given(inputs, 0), axis)]


def _given(inputs: Sequence[Array | None], position: int) -> Array:
    return np.asarray(inputs[position])


def _onnx_reference(node: ir.Node, opset: int) -> Operator:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(ir.to_proto(node), opsets={"": opset})
    names = ["" if each is None else str(each.name) for each in node.inputs]

    def call(inputs: Sequence[Array | None]) -> list[Array]:
        feeds = {name: array for name, array in zip(names, inputs, strict=True) if array is not None}
        return [np.asarray(each) for each in evaluator.run(None, feeds)]

    return call
