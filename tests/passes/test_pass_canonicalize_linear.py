from __future__ import annotations

import numpy as np
import pytest

from compiler.ir.linear import linears_of
from compiler.passes.canonicalize_linear import CanonicalizeLinear
from tests.support.graphs import body, ops, parse, ramp, run_pass

BEFORE = """
gemm (float[n, 4] x, float[6, 4] w, float[6] b, float[3, 6] tied) => (float[n, 3] y) {
  [first] h = Gemm<transB = 1>(x, w, b)
  [turn] t = Transpose<perm = [1, 0]>(tied)
  [second] y = MatMul(h, t)
}
"""
EXPECTED = """\
input x: float[n,4]
first_matmul_out: float[n,6] = MatMul(x, w_T)
first_bias_out: float[n,6] = Add(first_matmul_out, b)
y: float[n,3] = MatMul(first_bias_out, tied_T)
output y: float[n,3]
"""


def test_gemm_and_transposed_weights() -> None:
    model = parse(BEFORE, {"w": ramp(6, 4), "b": ramp(6), "tied": ramp(3, 6)})
    result = run_pass(CanonicalizeLinear(), model, {"x": ramp(5, 4)})
    assert body(model) == EXPECTED
    assert (result.modified, dict(result.counts)) == (True, {"gemm": 1, "transposed": 1})
    assert [each.weight_array.shape for each in linears_of(model.graph)] == [(4, 6), (6, 3)]


def test_gemm_without_a_bias_that_makes_the_output() -> None:
    model = parse(
        "g (float[n, 4] x, float[4, 2] w) => (float[n, 2] y) {\n [g] y = Gemm(x, w)\n}", {"w": ramp(4, 2)}
    )
    assert run_pass(CanonicalizeLinear(), model, {"x": ramp(2, 4)}).counts["gemm"] == 1
    assert ops(model) == ["MatMul"]


def test_a_table_that_is_also_the_decoder_keeps_its_rows() -> None:
    text = """
    tied (int64[n] ids, float[9, 4] table) => (float[n, 9] y) {
      [row] x = Gather(table, ids)
      [turn] t = Transpose<perm = [1, 0]>(table)
      [decode] y = MatMul(x, t)
    }"""
    model = parse(text, {"table": ramp(9, 4)})
    run_pass(CanonicalizeLinear(), model, {"ids": np.array([0, 8, 3])})
    assert sorted(model.graph.initializers) == ["table", "table_T"]


@pytest.mark.parametrize(
    ("attributes", "constant", "reason"),
    [
        ("", False, "its matrix is not constant"),
        ("<transA = 1>", True, "it transposes its activation"),
        ("<alpha = 2.0>", True, "it scales its operands"),
        ("<beta = 0.5>", True, "it scales its operands"),
    ],
)
def test_declines(attributes: str, constant: bool, reason: str) -> None:
    inputs = "float[4, 4] x, float[4, 4] w, float[4] b"
    text = f"g ({inputs}) => (float[4, 4] y) {{\n [g] y = Gemm{attributes}(x, w, b)\n}}"
    model = parse(text, {"w": ramp(4, 4)} if constant else None)
    result = run_pass(CanonicalizeLinear(), model)
    assert not result.modified
    assert [each.reason for each in result.declined] == [reason]


def test_a_product_of_two_activations_stays() -> None:
    text = """
    two (float[4, 4] x, float[4, 4] z) => (float[4, 4] y) {
      [turn] t = Transpose<perm = [1, 0]>(z)
      [dot] y = MatMul(x, t)
    }"""
    assert not run_pass(CanonicalizeLinear(), parse(text)).modified
