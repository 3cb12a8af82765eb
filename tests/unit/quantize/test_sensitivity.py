"""Groups of a plan, and the error that each makes alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from compiler.frontend.export import TracedModel
from compiler.ir.execute import Runner
from compiler.quantize.mixed import with_float
from compiler.quantize.plan import Decision, LinearPlan, QuantPlan
from compiler.quantize.sensitivity import Group, Probe, groups_of, measure, only, squared_error
from tests.support.graphs import HIDDEN, parse, ramp
from tests.support.lowered import FLOAT_PRODUCTS, LOWER, S8_PRODUCTS, Case, make_case, outputs


@pytest.fixture(scope="module")
def case(traced: Callable[..., TracedModel]) -> Case:
    return make_case(traced)


def test_groups_are_the_sites_of_each_layer_and_every_product_outside(case: Case) -> None:
    quantized = case.quantized(S8_PRODUCTS)
    groups = groups_of(quantized.model, quantized.plan)
    roles = {each.role for each in groups}
    sites = ("qkv", "attention_output", "ffn_up", "ffn_down", "attention")
    assert {f"layer{layer}.{site}" for layer in (0, 1) for site in sites} <= roles
    assert {role for role in roles if role.startswith("head")} == {"head.1", "head.2"}
    assert len(roles) == len(groups) == 12
    names = [name for each in groups for name in each.names]
    assert sorted(names) == sorted([*quantized.plan.linears, *quantized.plan.attentions])


def test_products_that_stay_float_anyway_are_no_groups(case: Case) -> None:
    quantized = case.quantized(FLOAT_PRODUCTS)
    groups = groups_of(quantized.model, quantized.plan)
    assert not [each for each in groups if each.role.endswith(".attention")]
    fewer = with_float(quantized.plan, groups[0].names, "tried")
    assert groups_of(quantized.model, fewer) == groups[1:]


def test_a_kind_has_one_shape_and_says_when_it_computes_one_row(case: Case) -> None:
    quantized = case.quantized(FLOAT_PRODUCTS)
    kinds = {each.role: each.kind for each in groups_of(quantized.model, quantized.plan)}
    assert kinds["layer0.ffn_up"] == "ffn_up 32x64"
    assert kinds["layer1.ffn_up"] == "ffn_up 32x64, one row"
    assert kinds["layer0.ffn_down"] == "ffn_down 64x32"
    assert kinds["head.1"] != kinds["head.2"]


def test_separate_query_key_and_value_are_one_group() -> None:
    arrays = {name: ramp(HIDDEN, HIDDEN) for name in ("wq", "wk", "wv")}
    model = parse(
        """three (float[b,s,8] x, float[8,8] wq, float[8,8] wk, float[8,8] wv)
        => (float[b,s,8] q, float[b,s,8] k, float[b,s,8] v) {
            [query] q = MatMul (x, wq)
            [key] k = MatMul (x, wk)
            [value] v = MatMul (x, wv)
        }""",
        arrays,
    )
    decision = Decision("int8", "linear layer")
    plan = QuantPlan({name: LinearPlan(f"layer0.{name}", decision) for name in ("query", "key", "value")})
    (group,) = groups_of(model, plan)
    assert group.role == "layer0.qkv"
    assert group.names == ("query", "key", "value")


def test_squared_error_leaves_padding_out() -> None:
    exact = [{"start_logits": np.zeros((1, 3), np.float32)}]
    found = [{"start_logits": np.array([[1.0, 3.0, 100.0]], np.float32)}]
    mask = [np.array([[True, True, False]])]
    assert squared_error("question-answering", exact, found, mask) == pytest.approx(5.0)


def test_squared_error_of_outputs_that_are_not_finite_is_infinite() -> None:
    exact = [{"logits": np.zeros((1, 2), np.float32)}]
    found = [{"logits": np.array([[np.nan, 0.0]], np.float32)}]
    assert squared_error("text-classification", exact, found, [np.ones((1, 4), bool)]) == float("inf")


def test_each_error_is_that_of_the_group_alone(case: Case) -> None:
    quantized = case.quantized(FLOAT_PRODUCTS)
    groups = groups_of(quantized.model, quantized.plan)
    run = Runner(case.model, threads=1)
    probe = Probe.of("text-classification", case.feeds, ("logits",), run)
    assert probe.outputs == ("logits",)
    assert probe.error(run) == 0.0

    def error(plan: QuantPlan, group: Group) -> float:
        assert {*plan.linears, *plan.attentions} == set(group.names)
        assert not plan.tables
        artifact = LOWER["onnxruntime"](quantized.model, plan, "int8")
        assert len(artifact.census.placements) == len(group.names)
        found = iter(outputs(artifact, case.feeds))
        return probe.error(lambda _: next(found))

    steps: list[int] = []
    known = {groups[0].role: 7.0}
    errors = measure(quantized.plan, groups, error, known=known, advance=steps.append)
    assert list(errors) == [each.role for each in groups]
    assert errors[groups[0].role] == 7.0
    rest = [errors[each.role] for each in groups[1:]]
    assert all(0.0 < each < 0.1 for each in rest)
    assert known == errors
    assert steps == [1] * len(groups)


def test_only_keeps_one_group(case: Case) -> None:
    quantized = case.quantized(S8_PRODUCTS)
    for group in groups_of(quantized.model, quantized.plan):
        alone: Any = only(quantized.plan, group)
        assert {*alone.linears, *alone.attentions} == set(group.names)
