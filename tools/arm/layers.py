"""Linear layers one by one, on numbers whose exact result is known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from compiler.quantize.plan import Decision, LinearPlan, QParam, QuantPlan, QWeight
from targets.spec import Runtime
from tools.arm.subject import Feeds, Subject

WIDTH: Final = 384
ROWS: Final = 24
STEP: Final = 1 / 16
"""Of the numbers between two layers."""
_INPUT_STEP: Final = 1 / 32
_LARGEST: Final = 127
_INT8: Final = Decision("int8", "under test")


@dataclass(frozen=True, slots=True)
class Activation:
    """A kind of activation: its zero point, as input and between two layers."""

    name: str
    signed: bool
    zero_points: tuple[int, int]

    def param(self, place: int) -> QParam:
        """Of the input (0) or of what is between two layers (1)."""
        step = (_INPUT_STEP, STEP)[place]
        return QParam(step, self.zero_points[place], self.signed, self.zero_points[place] == 0, "given")


@dataclass(frozen=True, slots=True)
class Case:
    """A layer and what follows it.

    Attributes:
        name: in the table.
        columns: whether each column of the weights has a scale of its own.
        bias: whether there is one.
        gelu: whether GELU follows.
        again: whether the result is quantized again, by the next layer, which only copies.
        largest: whether inputs and weights are the largest integers there are.
    """

    name: str
    columns: bool = True
    bias: bool = True
    gelu: bool = False
    again: bool = False
    largest: bool = False


ACTIVATIONS: Final = (
    Activation("S8, zero point -20", True, (-20, 10)),
    Activation("U8, zero point 108", False, (108, 138)),
    Activation("S8 symmetric", True, (0, 0)),
    Activation("U8, zero point 128", False, (128, 128)),
    Activation("U8, zero point 127", False, (127, 127)),
)
CASES: Final = (
    Case("one scale, no bias", columns=False, bias=False),
    Case("scale per column, no bias", bias=False),
    Case("scale per column, bias"),
    Case("bias, GELU", gelu=True),
    Case("bias, quantized", again=True),
    Case("bias, GELU, quantized", gelu=True, again=True),
    Case("largest integers", largest=True),
)
_RUNTIMES: Final[tuple[Runtime, ...]] = ("onnxruntime", "openvino")


def layer_subjects() -> Iterator[Subject]:
    """Every case with every kind of activation in either runtime."""
    for runtime in _RUNTIMES:
        for row, case in enumerate(CASES):
            for column, activation in enumerate(ACTIVATIONS):
                model, plan = _made(case, activation)
                key = f"layer-{runtime}-{row}-{column}"
                feeds = _feeds(activation.param(0), largest=case.largest)
                yield Subject(key, case.name, activation.name, runtime, model, plan, feeds)


def _made(case: Case, activation: Activation) -> tuple[ir.Model, QuantPlan]:
    draw = np.random.default_rng(0)
    values = draw.integers(-_LARGEST, _LARGEST + 1, (WIDTH, WIDTH)).astype(np.int8)
    scale = (draw.uniform(0.5, 2.0, WIDTH) / _LARGEST / 20).astype(np.float32)
    if case.largest:
        values = np.full_like(values, _LARGEST) * np.where(np.arange(WIDTH) % 2, 1, -1).astype(np.int8)
    weight = QWeight(values, scale if case.columns else np.full_like(scale, scale[0]), 1)
    linears = {"first": LinearPlan("first", _INT8, weight, activation.param(0))}
    arrays = {"first_w": weight.dequantized()}
    if case.bias:
        arrays["first_b"] = draw.normal(0, 0.3, WIDTH).astype(np.float32)
    if case.again:
        copies = QWeight(
            (np.eye(WIDTH) * _LARGEST).astype(np.int8), np.full(WIDTH, 1 / _LARGEST, np.float32), 1
        )
        linears["second"] = LinearPlan("second", _INT8, copies, activation.param(1))
        arrays["second_w"] = copies.dequantized()
    return _graph(case, arrays), QuantPlan(linears)


def _graph(case: Case, arrays: Mapping[str, NDArray[Any]]) -> ir.Model:
    steps = [("MatMul", "first", ["first_w"])]
    steps += [("Add", "add", ["first_b"])] if case.bias else []
    steps += [("Gelu", "gelu", [])] if case.gelu else []
    steps += [("MatMul", "second", ["second_w"])] if case.again else []
    nodes, value = [], "x"
    for place, (kind, name, constants) in enumerate(steps):
        out = "y" if place == len(steps) - 1 else f"{name}_out"
        nodes.append(helper.make_node(kind, [value, *constants], [out], name=name))
        value = out
    shape: list[str | int | None] = ["batch", "sequence", WIDTH]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    constants_ = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "layer", ends[:1], ends[1:], constants_)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10))


def _feeds(param: QParam, *, largest: bool) -> Feeds:
    """Random numbers, then numbers in the middle between two integers, where rounding shows.

    FakeQuantize rounds after it has added the zero point and QuantizeLinear before, both to even: with an
    odd zero point they differ in the middle, on every CPU, so the second are left out there.
    """
    draw = np.random.default_rng(1)
    x = draw.normal(0, 1, (1, ROWS, WIDTH)).astype(np.float32)
    step = np.float32(param.scale)
    if largest:
        low, high = param.bounds
        x = np.where(draw.random(x.shape) < 0.5, low, high).astype(np.float32)
        x[:, 0], x[:, 1] = low, high
        return [{"x": x}]
    half = ((np.floor(x / step) + np.float32(0.5)) * step).astype(np.float32)
    return [{"x": x}] if param.zero_point % 2 else [{"x": x}, {"x": half}]
