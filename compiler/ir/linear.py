"""A linear layer in the graph: a product with a constant matrix, and its bias."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import constant, only_consumer, op, produced_by
from targets.errors import InternalError


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """`y = x W + b`.

    Attributes:
        matmul: the product; its second input is the weight, [in, out].
        add: the bias addition, None when there is no bias.
    """

    matmul: ir.Node
    add: ir.Node | None

    @property
    def name(self) -> str:
        """The product's name, which keys every table about this layer."""
        return str(self.matmul.name)

    @property
    def input(self) -> ir.Value:
        """The activation, [..., in]."""
        value = self.matmul.inputs[0]
        if value is None:
            raise InternalError(f"{self.name} has no input")
        return value

    @property
    def output(self) -> ir.Value:
        """The result after the bias, [..., out]."""
        return (self.add or self.matmul).outputs[0]

    @property
    def weight(self) -> ir.Value:
        """The weight's value."""
        value = self.matmul.inputs[1]
        if value is None:
            raise InternalError(f"{self.name} has no weight")
        return value

    @property
    def weight_array(self) -> NDArray[np.float32]:
        """The weight, [in, out]."""
        return _array(self.weight)

    @property
    def bias_value(self) -> ir.Value | None:
        """The bias' value, None when there is no bias."""
        if self.add is None:
            return None
        return next(each for each in self.add.inputs if each is not self.matmul.outputs[0])

    @property
    def bias_array(self) -> NDArray[np.float32] | None:
        """The bias, [out], or None."""
        value = self.bias_value
        return None if value is None else _array(value)


def linear_at(matmul: ir.Node | None) -> Linear | None:
    """The linear layer whose product is `matmul`, or None if it is none."""
    if matmul is None or not op(matmul, "MatMul"):
        return None
    weight = constant(matmul.inputs[1])
    if weight is None or weight.ndim != 2 or constant(matmul.inputs[0]) is not None:
        return None
    return Linear(matmul, _bias_add(matmul, weight.shape[1]))


def linear_making(value: ir.Value | None) -> Linear | None:
    """The linear layer whose result is `value`, or None."""
    if value is None:
        return None
    add = produced_by(value, "Add")
    if add is None:
        linear = linear_at(produced_by(value, "MatMul"))
        return linear if linear is not None and linear.output is value else None
    for each in add.inputs:
        linear = linear_at(produced_by(each, "MatMul"))
        if linear is not None and linear.output is value:
            return linear
    return None


def linears_of(graph: ir.Graph) -> list[Linear]:
    """Every linear layer, in graph order."""
    found = (linear_at(node) for node in graph)
    return [linear for linear in found if linear is not None]


def _bias_add(matmul: ir.Node, width: int) -> ir.Node | None:
    consumer = only_consumer(matmul.outputs[0])
    if not op(consumer, "Add") or consumer is None:
        return None
    other = next((each for each in consumer.inputs if each is not matmul.outputs[0]), None)
    bias = constant(other)
    return consumer if bias is not None and bias.shape == (width,) else None


def _array(value: ir.Value) -> NDArray[np.float32]:
    array: NDArray[Any] | None = constant(value)
    if array is None:
        raise InternalError(f"{value.name!r} is not constant")
    return array
