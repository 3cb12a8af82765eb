"""Biases that the quantizer corrected."""

from __future__ import annotations

import onnx_ir as ir

from compiler.ir.edit import add_initializer
from compiler.ir.linear import linears_of
from compiler.quantize.plan import QuantPlan


def lower_biases(model: ir.Model, plan: QuantPlan) -> None:
    """Put the plan's bias in place of the graph's at every layer that runs in INT8, in place."""
    for linear in linears_of(model.graph):
        decided, value = plan.linears.get(linear.name), linear.bias_value
        if decided is None or decided.bias is None or decided.decision.compute != "int8":
            continue
        if linear.add is not None and value is not None:
            corrected = add_initializer(model.graph, f"{linear.name}_corrected_bias", decided.bias)
            linear.add.replace_input_with(list(linear.add.inputs).index(value), corrected)
