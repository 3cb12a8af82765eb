from __future__ import annotations

import numpy as np
import pytest

from compiler.passes.fuse_layer_norm import FuseLayerNorm
from tests.support.graphs import Arrays, body, ops, parse, ramp, run_pass

BEFORE = """
norm (float[b, s, 8] x, int64[1] last, float two, float eps, float[8] gamma, float[8] beta)
  => (float[b, s, 8] y) {
  [mean] mu = ReduceMean(x, last)
  [center] c = Sub(x, mu)
  [square] sq = Pow(c, two)
  [variance] var = ReduceMean(sq, last)
  [shift] shifted = Add(var, eps)
  [root] deviation = Sqrt(shifted)
  [divide] n = Div(c, deviation)
  [scale] g = Mul(n, gamma)
  [move] y = Add(g, beta)
}
"""
EXPECTED = """\
input x: float[b,s,8]
y: float[b,s,8] = LayerNormalization(x, gamma, beta) {axis=-1, epsilon=9.999999747378752e-06}
output y: float[b,s,8]
"""
FEEDS = {"x": 3 * ramp(2, 3, 8)}


def weights(**changed: object) -> Arrays:
    arrays = {
        "last": [-1],
        "two": np.float32(2),
        "eps": np.float32(1e-5),
        "gamma": 1 + ramp(8),
        "beta": ramp(8),
    }
    return {name: np.asarray(each) for name, each in {**arrays, **changed}.items()}


def test_fuses() -> None:
    model = parse(BEFORE, weights())
    result = run_pass(FuseLayerNorm(), model, FEEDS)
    assert body(model) == EXPECTED
    assert (result.modified, dict(result.counts), result.declined) == (True, {"layer_norm": 1}, ())


def test_fuses_a_square_by_product_and_swapped_operands() -> None:
    text = BEFORE.replace("Pow(c, two)", "Mul(c, c)").replace("Add(var, eps)", "Add(eps, var)")
    text = text.replace("Mul(n, gamma)", "Mul(gamma, n)").replace("float two, ", "")
    arrays = {name: each for name, each in weights(last=[2]).items() if name != "two"}
    model = parse(text, arrays)
    assert run_pass(FuseLayerNorm(), model, FEEDS).counts["layer_norm"] == 1
    assert ops(model) == ["LayerNormalization"]


@pytest.mark.parametrize(
    ("change", "arrays"),
    [
        (("", ""), weights(two=np.float32(3))),
        (("", ""), weights(last=[1])),
        (("Mul(n, gamma)", "Mul(n, two)"), weights()),
        (("Add(var, eps)", "Add(var, x)"), weights()),
        (("Div(c, deviation)", "Div(deviation, c)"), weights()),
        (("[divide] n = Div(c,", "[again] c2 = Sub(x, two)\n [divide] n = Div(c2,"), weights()),
        (("Mul(c, c)", "Mul(c, c)"), weights(gamma=ramp(1))),
    ],
)
def test_declines_what_is_no_layer_norm(change: tuple[str, str], arrays: Arrays) -> None:
    text = BEFORE.replace(*change)
    if arrays["gamma"].size == 1:
        text = text.replace("float[8] gamma", "float[1] gamma")
    result = run_pass(FuseLayerNorm(), parse(text, arrays), FEEDS)
    assert not result.modified
    assert [each.reason for each in result.declined] == [
        "the Sqrt is not part of a LayerNorm over the last axis"
    ]


def test_a_deviation_that_others_read_stays() -> None:
    text = BEFORE.replace("(float[b, s, 8] y) {", "(float[b, s, 8] y, float[b, s, 1] deviation) {")
    assert not run_pass(FuseLayerNorm(), parse(text, weights()), FEEDS).modified
