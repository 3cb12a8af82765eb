"""The search for what stays in float, against judges whose truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.frontend.export import TracedModel
from compiler.passes.fuse_qkv import FuseQkv
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.quantize.mixed import (
    Gate,
    Judge,
    Ranked,
    apply,
    rank,
    search,
    summary,
    uncertainty,
    with_float,
)
from compiler.quantize.sensitivity import Group, groups_of
from compiler.report.text import precision_rows
from compiler.validate import Validation
from targets.errors import AccuracyGateError
from targets.spec import QuantScheme
from tests.support.lowered import (
    FLOAT_PRODUCTS,
    LOWER,
    NO_VNNI,
    S8_PRODUCTS,
    VNNI,
    Case,
    gap,
    make_case,
    outputs,
)
from tests.support.parity import random_feeds

GATE = Gate(0.01)


def measured(delta: float, agreement: float = 1.0, n: int = 100) -> Validation:
    """A measurement of an accuracy that was 0.9."""
    return Validation(
        metric="accuracy",
        baseline=0.9,
        compiled=0.9 + delta,
        delta=delta,
        ci95=(delta - 0.02, delta + 0.02),
        agreement=agreement,
        n=n,
        evidence="measured",
        status="passed",
        max_drop=0.01,
        labelled=True,
        metrics={"baseline": {}, "compiled": {}},
    )


def made(errors: dict[str, float], saved: dict[str, float] | None = None) -> tuple[Ranked, ...]:
    """Ranked groups by role; each saves 1 ms unless told otherwise."""
    groups = [Group(role, role, (role,)) for role in errors]
    return rank(groups, errors, saved or dict.fromkeys(errors, 1.0))


def additive(errors: dict[str, float], seen: list[set[str]] | None = None) -> Judge:
    """A model whose drop is the sum of the errors of what is INT8."""

    def judge(floats: tuple[Ranked, ...]) -> Validation:
        kept = {each.group.role for each in floats}
        if seen is not None:
            seen.append(kept)
        return measured(-sum(error for role, error in errors.items() if role not in kept))

    return judge


def roles(floats: tuple[Ranked, ...]) -> list[str]:
    return [each.group.role for each in floats]


def test_the_ranking_is_error_per_millisecond() -> None:
    ranking = made({"a": 1.0, "b": 2.0, "c": 2.0}, {"a": 0.1, "b": 1.0, "c": 1.0})
    assert roles(ranking) == ["a", "b", "c"]
    assert [each.worth for each in ranking] == [10.0, 2.0, 2.0]


def test_the_guilty_product_alone_leaves_int8() -> None:
    errors = {**{f"layer{i}.ffn_down": 1e-4 for i in range(12)}, "layer7.qkv": 0.5}
    choice = search(made(errors), additive(errors), GATE)
    assert roles(choice.floats) == ["layer7.qkv"]
    assert GATE.holds(choice.validation)


def test_a_cheap_product_that_is_not_needed_goes_back_to_int8() -> None:
    errors = {"cheap": 0.001, "guilty": 0.5, "other": 0.001}
    ranking = made(errors, {"cheap": 0.0001, "guilty": 1.0, "other": 1.0})
    assert roles(ranking)[0] == "cheap"
    assert roles(search(ranking, additive(errors), GATE).floats) == ["guilty"]
    assert roles(search(ranking, additive(errors), GATE, put_back=0).floats) == ["cheap", "guilty"]


def test_a_model_that_fails_in_float_too_is_refused() -> None:
    with pytest.raises(AccuracyGateError, match="every product in float") as caught:
        search(made({"a": 1.0}), lambda _: measured(-0.5), GATE)
    assert "--max-drop" in caught.value.hint


def test_outputs_that_are_not_finite_do_not_pass() -> None:
    errors = {"a": 1.0, "b": 0.5}

    def judge(floats: tuple[Ranked, ...]) -> Validation | None:
        return measured(0.0) if len(floats) == 2 else None

    assert roles(search(made(errors), judge, GATE).floats) == ["a", "b"]


@given(
    st.lists(st.floats(0.0, 0.02), min_size=1, max_size=20),
    st.lists(st.floats(0.001, 5.0), min_size=20, max_size=20),
)
def test_what_is_returned_was_run_and_holds(errors: list[float], saved: list[float]) -> None:
    named = {f"g{i:02}": each for i, each in enumerate(errors)}
    ranking = made(named, {role: saved[i] for i, role in enumerate(named)})
    seen: list[set[str]] = []
    choice = search(ranking, additive(named, seen), GATE)
    assert GATE.holds(choice.validation)
    assert set(roles(choice.floats)) in seen
    assert choice.trials == len(seen) + 1
    assert choice == search(ranking, additive(named), GATE)
    left = sum(each.error for each in ranking if each not in choice.floats)
    assert left <= 0.01 + 1e-9
    if len(choice.floats) > 1:
        last = choice.floats[-1]
        assert left + last.error > 0.01 - 1e-9 or len(choice.floats) < len(seen)


def test_the_gate_asks_for_both() -> None:
    both = Gate(0.01, 0.99)
    assert both.holds(measured(-0.01, 0.99))
    assert not both.holds(measured(-0.02, 1.0))
    assert not both.holds(measured(0.0, 0.98))
    assert Gate(0.01).holds(measured(0.0, 0.5))
    assert not both.holds(None)
    assert not both.holds(measured(float("nan")))


def test_the_final_measurement_fails_where_the_agreement_is_low() -> None:
    judged = Gate(0.01, 0.99).judged(measured(0.0, 0.98))
    assert judged.status == "failed"
    assert "0.9800 is below --min-agreement 0.99" in str(judged.reason)
    passed = measured(0.0, 0.995)
    assert Gate(0.01, 0.99).judged(passed) is passed
    assert Gate(0.01).judged(measured(0.0, 0.1)).status == "passed"


def test_uncertainty_is_never_nothing() -> None:
    assert uncertainty(measured(0.0)) == pytest.approx(0.02)
    sure = replace(measured(0.0, n=300), ci95=(0.0, 0.0))
    assert uncertainty(sure) == pytest.approx(0.01)
    assert uncertainty(replace(sure, ci95=None)) is None


@pytest.fixture(scope="module")
def case(traced: Callable[..., TracedModel]) -> Case:
    return make_case(traced)


RUNTIMES = [
    pytest.param("onnxruntime", FLOAT_PRODUCTS, id="onnxruntime"),
    pytest.param("openvino", S8_PRODUCTS, id="openvino", marks=pytest.mark.skipif(not VNNI, reason=NO_VNNI)),
]


def test_with_float_changes_only_what_is_named(case: Case) -> None:
    plan = case.quantized(S8_PRODUCTS).plan
    name, attention = next(iter(plan.linears)), next(iter(plan.attentions))
    changed = with_float(plan, [name, attention], "because")
    assert changed.linears[name].decision.reason == "because"
    assert changed.linears[name].weight is None
    assert changed.linears[name].role == plan.linears[name].role
    assert changed.attentions[attention].decision.compute == "float"
    assert {k: v for k, v in changed.linears.items() if k != name} == {
        k: v for k, v in plan.linears.items() if k != name
    }
    assert changed.tables is plan.tables
    assert plan.linears[name].decision.compute == "int8"
    assert {each["name"] for each in changed.to_json()["float"]} == {name, attention}
    with pytest.raises(KeyError, match="nothing of that name"):
        with_float(plan, ["nothing of that name"], "because")


@pytest.mark.parametrize(("runtime", "scheme"), RUNTIMES)
@pytest.mark.parametrize("sites", [("layer0.qkv",), ("layer0.attention", "layer1.ffn_down"), ("head.2",)])
def test_some_groups_in_float_beside_the_others(
    case: Case, runtime: str, scheme: QuantScheme, sites: tuple[str, ...]
) -> None:
    quantized = case.quantized(scheme)
    every = groups_of(quantized.model, quantized.plan)
    names = [name for each in every if each.role in sites for name in each.names]
    artifact = LOWER[runtime](quantized.model, with_float(quantized.plan, names, "tried"), "int8")
    assert len(artifact.census.placements) == sum(len(each.names) for each in every) - len(names)
    assert not artifact.census.in_float
    assert gap(outputs(artifact, case.feeds), case.reference()) < 0.5


@pytest.mark.parametrize(("runtime", "scheme"), RUNTIMES)
@pytest.mark.parametrize("kept", [1, 2])
def test_some_readers_of_one_value_in_float(
    traced: Callable[..., TracedModel], runtime: str, scheme: QuantScheme, kept: int
) -> None:
    model = traced("bert", "text-classification").model
    PassManager([each for each in encoder_passes() if not isinstance(each, FuseQkv)]).run(model)
    case = Case(model, [random_feeds(4, 16, vocab_size=300, seed=0)])
    quantized = case.quantized(scheme)
    (qkv,) = [each for each in groups_of(model, quantized.plan) if each.role == "layer0.qkv"]
    assert len(qkv.names) == 3
    plan = with_float(quantized.plan, qkv.names[kept:], "tried")
    artifact = LOWER[runtime](quantized.model, plan, "int8")
    placed = {each.name for each in artifact.census.placements}
    assert placed & set(qkv.names) == set(qkv.names[:kept])
    assert not artifact.census.in_float
    assert gap(outputs(artifact, case.feeds), case.reference()) < 0.5


@pytest.mark.parametrize(("runtime", "scheme"), RUNTIMES)
def test_all_in_float_is_the_float_model(case: Case, runtime: str, scheme: QuantScheme) -> None:
    quantized = case.quantized(scheme)
    names = [*quantized.plan.linears, *quantized.plan.attentions]
    artifact = LOWER[runtime](quantized.model, with_float(quantized.plan, names, "tried"), "int8")
    assert artifact.census.placements == ()
    assert gap(outputs(artifact, case.feeds), case.reference()) < 0.05


def test_the_plan_records_the_choice(case: Case) -> None:
    quantized = case.quantized(FLOAT_PRODUCTS)
    groups = groups_of(quantized.model, quantized.plan)
    errors = {each.role: 1e-4 for each in groups} | {"layer1.ffn_down": 0.25}
    choice = search(rank(groups, errors, {each.kind: 0.5 for each in groups}), additive(errors), GATE)
    plan = apply(quantized.plan, choice, GATE, total=0.3, outputs="logits", shape="1x128")
    record = plan.to_json()
    search_record = record["scheme"]["search"]
    assert search_record["float"] == ["layer1.ffn_down"]
    assert search_record["gate"] == {"max_drop": 0.01, "min_agreement": None}
    assert search_record["texts"] == 100
    assert search_record["uncertainty"] == pytest.approx(0.02)
    (reason,) = [each["reason"] for each in record["float"] if each["role"] == "layer1.ffn_down"]
    assert reason == (
        "alone it makes 0.25 squared error of logits, all INT8 0.3; INT8 would save 0.5 ms at 1x128"
    )
    table = choice.to_json()
    assert [each["kept_in"] for each in table].count("float") == 1
    assert np.isclose(table[0]["error_alone"], 0.25)


def test_the_summary_says_what_stays_in_float_and_how_well_that_is_known() -> None:
    errors = {"layer0.ffn_down": 0.5, "layer1.qkv": 1e-4}
    choice = search(made(errors), additive(errors), GATE)
    record = {"int8_linears": 23, "int8_attentions": 0, "scheme": {"search": summary(choice, GATE)}}
    (products, held_out) = precision_rows(record)
    assert products == ("products", "23 in INT8; in float: layer0.ffn_down")
    assert held_out[1] == "accuracy -0.0001 (known to +-0.0200 with 100 texts), agreement 100.00%"
    record["scheme"] = {"search": {**summary(choice, GATE), "float": []}}
    assert precision_rows(record)[0][1] == "23 in INT8; nothing had to stay in float"
    assert precision_rows({"scheme": {}}) == []
    assert precision_rows({}) == []
