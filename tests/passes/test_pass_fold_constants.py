from __future__ import annotations

import logging

import numpy as np
import onnx_ir as ir

from compiler.ir.edit import add_initializer
from compiler.passes.fold_constants import FoldConstants
from tests.support.graphs import body, encoder, encoder_feeds, ops, parse, ramp, run_pass

BEFORE = """
folding (float[n, 4] x) => (float[n, 4] y, float[n, 4] z) {
  [two] two = Constant<value = float {2.0}>()
  [three] three = Constant<value = float {3.0}>()
  [six] six = Mul(two, three)
  [once] once = Mul(x, six)
  [twice] twice = Mul(x, six)
  [same] same = Identity(twice)
  [sum] y = Add(once, same)
  [dead] dead = Relu(x)
  [root] z = Sqrt(once)
}
"""
EXPECTED = """\
input x: float[n,4]
once: float[n,4] = Mul(x, six)
y: float[n,4] = Add(once, once)
z: float[n,4] = Sqrt(once)
output y: float[n,4]
output z: float[n,4]
"""


def test_folds_merges_and_sweeps() -> None:
    model = parse(BEFORE)
    result = run_pass(FoldConstants(), model, {"x": np.abs(ramp(3, 4))})
    assert body(model) == EXPECTED
    assert result.modified
    assert result.counts["nodes"] == 6
    assert model.graph.initializers["six"].const_value is not None
    assert list(model.graph.initializers) == ["six"]


def test_a_folded_graph_is_left_alone() -> None:
    model = parse("plain (float[n, 4] x) => (float[n, 4] y) {\n [one] y = Relu(x)\n}")
    assert not run_pass(FoldConstants(), model, {"x": ramp(2, 4)}).modified


def test_a_change_that_keeps_the_counts_is_reported() -> None:
    text = "swap (float[n, 4] x, float w) => (float[n, 4] y) {\n [neg] m = Neg(w)\n [mul] y = Mul(x, m)\n}"
    model = parse(text, {"w": np.asarray(np.float32(2))})
    assert run_pass(FoldConstants(), model, {"x": ramp(2, 4)}).modified
    assert ops(model) == ["Mul"]


def test_large_constants_stay_unfolded() -> None:
    nodes = "[neg] m = Neg(w)\n [dot] y = MatMul(x, m)\n"
    text = f"table (float[2, 8] x, float[8, 2] w) => (float[2, 2] y) {{\n {nodes}}}"
    model = parse(text, {"w": ramp(8, 2)})
    assert not run_pass(FoldConstants(max_elements=8), model, {"x": ramp(2, 8)}).modified
    assert ops(model) == ["Neg", "MatMul"]


def test_a_constant_that_leaves_the_graph_keeps_its_name() -> None:
    text = (
        "out (float[n] x, float[2] w) => (float[n] y, float[2] c) {\n [r] y = Relu(x)\n [neg] c = Neg(w)\n}"
    )
    model = parse(text, {"w": ramp(2)})
    run_pass(FoldConstants(), model, {"x": ramp(3)})
    assert [out.name for out in model.graph.outputs] == ["y", "c"]


def test_an_initializer_may_be_an_output() -> None:
    model = parse("plain (float[n, 4] x) => (float[n, 4] y) {\n [one] y = Relu(x)\n}")
    model.graph.outputs.append(add_initializer(model.graph, "w", ramp(2)))
    run_pass(FoldConstants(), model, {"x": ramp(2, 4)})
    assert [out.name for out in model.graph.outputs] == ["y", "w"]


def test_equal_query_and_key_weights_become_one_product() -> None:
    twins = {"wq0": ramp(8, 8), "wk0": ramp(8, 8), "bq0": ramp(8), "bk0": ramp(8)}
    model = encoder(weights=twins)
    run_pass(FoldConstants(), model, encoder_feeds())
    (attention,) = (node for node in model.graph if node.op_type == "Attention")
    assert attention.inputs[0] is attention.inputs[1]


def test_the_optimizer_logs_as_before() -> None:
    logger = logging.getLogger("onnxscript.optimizer")
    level = logger.level
    FoldConstants().run(parse("plain (float[n, 4] x) => (float[n, 4] y) {\n [one] y = Relu(x)\n}"))
    assert logger.level == level


def test_unused_opsets_are_dropped() -> None:
    model = parse("plain (float[n, 4] x) => (float[n, 4] y) {\n [one] y = Relu(x)\n}")
    model.opset_imports["com.example"] = 1
    assert run_pass(FoldConstants(), model).modified
    assert isinstance(model, ir.Model)
    assert dict(model.opset_imports) == {"": 23}
