"""The erf form of GELU as one Gelu."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx_ir as ir

from compiler.ir.edit import make_node, only_consumer, op, produced_by, replace_value, scalar, sweep
from compiler.passes.base import Declined, Pass, PassResult

_TOLERANCE = 1e-3


@dataclass(frozen=True)
class FuseGelu(Pass):
    """`x * 0.5 * (1 + erf(x / sqrt(2)))`, its products in any order, becomes `Gelu(x)`.

    Source: Hendrycks and Gimpel 2016, "Gaussian Error Linear Units", section 2.
    """

    def run(self, model: ir.Model) -> PassResult:
        """Rewrite around every Erf."""
        count, declined = 0, []
        for erf in [each for each in model.graph if op(each, "Erf")]:
            match = _match(erf)
            if match is None:
                declined.append(
                    Declined(str(erf.name), "the Erf is not part of x * 0.5 * (1 + erf(x / sqrt 2))")
                )
                continue
            x, result = match
            node = make_node("Gelu", [x], name=f"{erf.name}_gelu", dtype=result.dtype, shape=result.shape)
            last = result.producer()
            if last is not None:
                model.graph.insert_after(last, [node])
            replace_value(result, node.outputs[0])
            count += 1
        removed = sweep(model.graph)
        return PassResult(count + removed > 0, {"gelu": count}, tuple(declined))


def _match(erf: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    x = _divided_by_sqrt2(erf.inputs[0])
    add = only_consumer(erf.outputs[0])
    if x is None or add is None or not op(add, "Add") or not any(_near(scalar(v), 1.0) for v in add.inputs):
        return None
    factor, has_x, current = 1.0, False, add.outputs[0]
    while not (has_x and _near(factor, 0.5)):
        node = only_consumer(current)
        if node is None or not op(node, "Mul"):
            return None
        other = next((each for each in node.inputs if each is not current), None)
        constant_factor, is_x = _factor(other, x)
        if constant_factor is None or (is_x and has_x):
            return None
        factor, has_x, current = factor * constant_factor, has_x or is_x, node.outputs[0]
    return x, current


def _factor(value: ir.Value | None, x: ir.Value) -> tuple[float | None, bool]:
    if value is x:
        return 1.0, True
    number = scalar(value)
    if number is not None:
        return number, False
    half = produced_by(value, "Mul")
    if half is not None and x in half.inputs:
        return next((n for n in map(scalar, half.inputs) if n is not None), None), True
    return None, False


def _divided_by_sqrt2(value: ir.Value | None) -> ir.Value | None:
    node = produced_by(value, "Div", "Mul")
    if node is None:
        return None
    wanted = math.sqrt(2.0) if op(node, "Div") else math.sqrt(0.5)
    if _near(scalar(node.inputs[1]), wanted):
        return node.inputs[0]
    if op(node, "Mul") and _near(scalar(node.inputs[0]), wanted):
        return node.inputs[1]
    return None


def _near(number: float | None, wanted: float) -> bool:
    return number is not None and abs(number - wanted) <= _TOLERANCE
