"""Each INT8 layer of a whole model by itself: what it makes of what it is given there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.integer import layers
from compiler.ir.execute import clone
from compiler.ir.linear import Linear, linears_of
from tools.arm.subject import Answer, Subject
from tools.bench_report import table


@dataclass(frozen=True, slots=True)
class Place:
    """A layer of the model.

    Attributes:
        role: its place in the encoder.
        zero_point: of its input.
        symmetric: whether that is the middle of the integers.
        gaps: relative root mean square error by CPU.
    """

    role: str
    zero_point: int
    symmetric: bool
    gaps: Mapping[str, float]


def with_places(subject: Subject) -> Subject:
    """The same with one run, and with every linear layer's input and result as outputs too."""
    model = clone(subject.model)
    for linear in linears_of(model.graph):
        for value in (linear.input, linear.output):
            if value not in model.graph.outputs and value not in model.graph.inputs:
                model.graph.outputs.append(value)
    return replace(subject, key=f"{subject.key}-places", model=model, feeds=subject.feeds[-1:])


def places(subject: Subject, answers: Mapping[str, Answer]) -> Iterator[Place]:
    """Every INT8 layer of a subject that `with_places` made."""
    for linear in linears_of(subject.model.graph):
        decided = subject.plan.linears[linear.name]
        if decided.input is None or decided.weight is None:
            continue
        gaps = {cpu: _gap(linear, subject, each.runs[0]) for cpu, each in answers.items() if each.runs}
        middle = 0 if decided.input.signed else 128
        zero_point = decided.input.zero_point
        yield Place(decided.role, zero_point, zero_point == middle, gaps)


def place_table(found: Sequence[Place]) -> str:
    """Kinds of layers with the same sort of zero point together; the largest error of each."""
    cpus = list(found[0].gaps)
    lines = [["layers", "zero point", "number", *cpus]]
    kinds = dict.fromkeys((each.role.rpartition(".")[2], each.symmetric) for each in found)
    for kind, symmetric in sorted(kinds):
        own = [each for each in found if (each.role.rpartition(".")[2], each.symmetric) == (kind, symmetric)]
        points = sorted({each.zero_point for each in own})
        span = str(points[0]) if len(points) == 1 else f"{points[0]} to {points[-1]}"
        worst = [f"{max(each.gaps[cpu] for each in own):.0e}" for cpu in cpus]
        lines.append([kind, span, str(len(own)), *worst])
    return table(lines)


def _gap(linear: Linear, subject: Subject, run: Mapping[str, NDArray[Any]]) -> float:
    decided = subject.plan.linears[linear.name]
    assert decided.weight is not None
    bias = linear.bias_array if decided.bias is None else decided.bias
    x, y = (run[_name(value)] for value in (linear.input, linear.output))
    exact = layers.linear(x, decided.weight, decided.input, bias, saturating=False)
    return float(np.sqrt(np.square(y - exact).mean() / np.square(exact).mean()))


def _name(value: ir.Value) -> str:
    return str(value.name)
