from __future__ import annotations

import numpy as np
import pytest

from compiler.passes.fuse_gelu import FuseGelu
from tests.support.graphs import Arrays, body, ops, parse, ramp, run_pass

HEAD = "gelu (float[n, 4] x, float half, float one, float root) => (float[n, 4] y) {\n"
BEFORE = (
    HEAD
    + """
  [scaled] a = Div(x, root)
  [erf] b = Erf(a)
  [plus] c = Add(b, one)
  [times] d = Mul(x, c)
  [out] y = Mul(d, half)
}
"""
)
EXPECTED = """\
input x: float[n,4]
y: float[n,4] = Gelu(x)
output y: float[n,4]
"""
FEEDS = {"x": 4 * ramp(3, 4)}


def weights(**changed: float) -> Arrays:
    values = {"half": 0.5, "one": 1.0, "root": 2**0.5, **changed}
    return {name: np.asarray(each, np.float32) for name, each in values.items()}


def test_fuses() -> None:
    model = parse(BEFORE, weights())
    result = run_pass(FuseGelu(), model, FEEDS)
    assert body(model) == EXPECTED
    assert (result.modified, dict(result.counts)) == (True, {"gelu": 1})


@pytest.mark.parametrize(
    "nodes",
    [
        "[h] h = Mul(x, half)\n [t] y = Mul(h, c)",
        "[h] h = Mul(half, c)\n [t] y = Mul(x, h)",
        "[t] d = Mul(c, x)\n [h] y = Mul(half, d)",
    ],
)
def test_fuses_whatever_the_order_of_the_products(nodes: str) -> None:
    text = HEAD + "[s] a = Mul(x, root)\n [erf] b = Erf(a)\n [p] c = Add(one, b)\n" + nodes + "\n}"
    model = parse(text, weights(root=0.5**0.5))
    assert run_pass(FuseGelu(), model, FEEDS).counts["gelu"] == 1
    assert ops(model) == ["Gelu"]


@pytest.mark.parametrize("changed", [{"half": 0.25}, {"one": 2.0}, {"root": 2.0}])
def test_declines_other_numbers(changed: dict[str, float]) -> None:
    result = run_pass(FuseGelu(), parse(BEFORE, weights(**changed)), FEEDS)
    assert not result.modified
    assert [each.where for each in result.declined] == ["erf"]
    assert "Erf is not part of" in result.declined[0].reason


def test_declines_a_product_with_another_value() -> None:
    text = BEFORE.replace("float[n, 4] x,", "float[n, 4] x, float[n, 4] z,").replace("Mul(x, c)", "Mul(z, c)")
    assert not run_pass(FuseGelu(), parse(text, weights()), {**FEEDS, "z": ramp(3, 4)}).modified


def test_an_erf_that_leaves_the_graph_stays() -> None:
    text = BEFORE.replace("(float[n, 4] y)", "(float[n, 4] y, float[n, 4] b)")
    assert not run_pass(FuseGelu(), parse(text, weights()), FEEDS).modified


def test_the_tanh_form_is_left_alone() -> None:
    text = 'tanh (float[n, 4] x) => (float[n, 4] y) {\n [g] y = Gelu<approximate = "tanh">(x)\n}'
    assert not run_pass(FuseGelu(), parse(text), FEEDS).modified
