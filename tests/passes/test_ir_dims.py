from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compiler.ir.dims import axis_of, reshape_entries, shape_entries
from tests.support.graphs import parse, ramp

TEXT = """
dims (float[batch, sequence, 8] x, float[8, 6] w, float[6] b, int64[1] zero, int64[1] one, int64[1] two,
      int64[1] ends, int64[4] heads, int64[1] rest, float half, int64 last)
  => (float[batch, sequence, 6] y, int64[n] out) {
  [dot] d = MatMul(x, w)
  [bias] a = Add(b, d)
  [scale] y = Mul(a, half)
  [view] h = Reshape(y, heads)
  [turn] t = Transpose<perm = [0, 2, 1, 3]>(h)
  [isnan] n = IsNaN(t)
  [guard] g = Where(n, half, t)
  [size] size = Shape(g)
  [part] length = Slice(size, two, ends)
  [scalar] batch0 = Gather(size, zero)
  [wide] wide = Gather(size, last)
  [vector] v = Unsqueeze(wide, zero)
  [join] out = Concat<axis = 0>(batch0, rest, length, v)
}
"""
ARRAYS = {
    "w": ramp(8, 6),
    "b": ramp(6),
    "zero": np.array([0]),
    "one": np.array([1]),
    "two": np.array([2]),
    "ends": np.array([-1]),
    "heads": np.array([0, 0, 2, 3]),
    "rest": np.array([-1]),
    "half": np.asarray(np.float32(0.5)),
    "last": np.asarray(-1),
}


@pytest.fixture(scope="module")
def model() -> ir.Model:
    return parse(TEXT, ARRAYS)


def value(model: ir.Model, name: str) -> ir.Value:
    return next(out for node in model.graph for out in node.outputs if out.name == name)


def test_axes_lead_back_to_the_input(model: ir.Model) -> None:
    x = model.graph.inputs[0]
    assert [axis_of(value(model, "g"), axis) for axis in range(4)] == [(x, 0), 2, (x, 1), 3]
    assert axis_of(value(model, "y"), -1) == 6
    assert axis_of(value(model, "y"), -3) == (x, 0)


def test_entries_of_a_computed_shape(model: ir.Model) -> None:
    x = model.graph.inputs[0]
    assert shape_entries(value(model, "out")) == ((x, 0), -1, (x, 1), 3)
    view = next(node for node in model.graph if node.name == "view")
    assert reshape_entries(view) == ((x, 0), (x, 1), 2, 3)


def test_what_is_not_known(model: ir.Model) -> None:
    assert shape_entries(None) is None
    assert shape_entries(model.graph.inputs[0]) is None
    x = model.graph.inputs[0]
    assert axis_of(x, 1) == (x, 1)


def test_two_tensors_may_be_broadcast() -> None:
    model = parse("sum (float[a, 4] x, float[b, 4] z) => (float[c, 4] y) {\n [sum] y = Add(x, z)\n}")
    y = model.graph.outputs[0]
    assert axis_of(y, 0) == (y, 0)
    assert axis_of(y, 1) == 4
