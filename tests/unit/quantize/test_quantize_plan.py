from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from calibration.observers import RangeObserver
from calibration.ranges import METHODS, choose_range
from compiler.ir.encoder import EncoderGraph
from compiler.ir.execute import Runner
from compiler.ir.linear import linears_of
from compiler.ir.printer import to_text
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.quantize.error import activation_error
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.plan import LinearPlan, QuantPlan, QWeight
from compiler.quantize.quantizer import (
    FLOAT_ATTENTION,
    Quantized,
    adapt,
    passes_over,
    quantize_dynamic,
    quantize_static,
)
from compiler.quantize.ranges import best_method
from compiler.quantize.statistics import collect, token_rows
from targets.errors import UsageError
from targets.spec import QuantScheme
from tests.support.graphs import attention_of, encoder, encoder_feeds, ramp

Feeds = Mapping[str, NDArray[Any]]
S8_PRODUCTS = QuantScheme("u8", True, 127, "s8", "float")
FLOAT_PRODUCTS = QuantScheme("u8", True, 127, "float", "float")
NARROW = QuantScheme("u8", True, 64, "float", "float")
SYMMETRIC = QuantScheme("s8", False, 127, "s8", "float")
OPTIONS = QuantizeOptions(ranges="minmax", threads=1)


@pytest.fixture(scope="module")
def model() -> ir.Model:
    compiled = encoder(layers=2, weights={"words": ramp(300, 8)})
    PassManager(encoder_passes()).run(compiled)
    return compiled


@pytest.fixture(scope="module")
def batches() -> list[Feeds]:
    return [encoder_feeds(4, 9, seed) for seed in range(3)]


@pytest.mark.parametrize("scheme", [S8_PRODUCTS, FLOAT_PRODUCTS, NARROW, SYMMETRIC])
def test_every_product_has_a_decision(model: ir.Model, batches: list[Feeds], scheme: QuantScheme) -> None:
    before = to_text(model)
    found = quantize_static(model, batches, scheme, OPTIONS)
    assert to_text(model) == before
    plan = found.plan
    names = [each.name for each in linears_of(found.model.graph)]
    assert sorted(plan.linears) == sorted(names)
    for each in plan.linears.values():
        assert each.decision.compute == "int8"
        assert each.weight is not None
        assert each.input is not None
        assert np.abs(each.weight.values.astype(int)).max() <= scheme.weight_qmax
        assert each.input.signed == (scheme.activation == "s8")
        assert each.input.symmetric != scheme.asymmetric
        assert not each.input.symmetric or each.input.zero_point == (0 if each.input.signed else 128)
        low, high = each.input.bounds
        assert low <= 0 <= high
    assert plan.static
    assert [each.role for each in plan.attentions.values()] == ["layer0.attention", "layer1.attention"]
    int8 = scheme.attention_products == "s8"
    assert all((each.decision.compute == "int8") == int8 for each in plan.attentions.values())
    assert all((each.query is not None and each.query.signed) == int8 for each in plan.attentions.values())
    json = plan.to_json()
    assert (json["int8_linears"], json["int8_attentions"]) == (len(names), 2 * int8)
    assert {each["reason"] for each in json["float"]} == (set() if int8 else {FLOAT_ATTENTION})
    assert json["scheme"]["kind"] == "static"


def test_linears_that_read_one_value_share_its_parameters(batches: list[Feeds]) -> None:
    unfused = encoder(layers=1)
    plan = quantize_static(unfused, batches, FLOAT_PRODUCTS, OPTIONS).plan
    assert plan.linears["q0"].input == plan.linears["k0"].input == plan.linears["v0"].input
    assert plan.linears["q0"].input != plan.linears["up0"].input


def test_only_large_tables_are_quantized(model: ir.Model) -> None:
    assert list(quantize_dynamic(model, S8_PRODUCTS).tables) == ["embed"]
    assert quantize_dynamic(encoder(), S8_PRODUCTS).tables == {}


def test_dynamic_needs_no_ranges(model: ir.Model) -> None:
    plan = quantize_dynamic(model, NARROW)
    assert sorted(plan.linears) == sorted(each.name for each in linears_of(model.graph))
    assert all(each.decision.compute == "int8" and each.input is None for each in plan.linears.values())
    assert not plan.static
    assert max(np.abs(p.weight.values.astype(int)).max() for p in plan.linears.values() if p.weight) == 64
    assert plan.to_json()["scheme"]["kind"] == "dynamic"


def test_adapt_takes_the_attention_products_out(model: ir.Model, batches: list[Feeds]) -> None:
    rich = quantize_static(model, batches, S8_PRODUCTS, OPTIONS).plan
    assert adapt(rich, S8_PRODUCTS) is rich
    plain, direct = adapt(rich, FLOAT_PRODUCTS), quantize_static(model, batches, FLOAT_PRODUCTS, OPTIONS).plan
    assert plain.linears is rich.linears
    assert plain.attentions == direct.attentions
    assert plain.to_json() == direct.to_json()
    assert {name: each.input for name, each in plain.linears.items()} == {
        name: each.input for name, each in direct.linears.items()
    }


def weight_bytes(weight: QWeight | None) -> bytes:
    return b"" if weight is None else weight.values.tobytes() + weight.scale.tobytes()


def linear_bytes(plan: LinearPlan) -> bytes:
    bias = b"" if plan.bias is None else plan.bias.tobytes()
    return weight_bytes(plan.weight) + bias + repr((plan.role, plan.decision, plan.input)).encode()


def plan_bytes(plan: QuantPlan) -> dict[str, bytes]:
    """Everything in a plan, by node."""
    parts = {name: linear_bytes(each) for name, each in plan.linears.items()}
    parts |= {name: weight_bytes(each) for name, each in plan.tables.items()}
    return parts | {name: repr(each).encode() for name, each in plan.attentions.items()}


def constants(found: Quantized) -> dict[str, bytes]:
    values = found.model.graph.initializers.items()
    return {name: each.const_value.tobytes() for name, each in values if each.const_value is not None}


@pytest.mark.parametrize(
    "options",
    [
        QuantizeOptions(threads=1),
        QuantizeOptions(ranges="minmax", threads=2),
        QuantizeOptions(ranges="minmax", threads=1, rounding="nearest", shift=False),
    ],
    ids=["all", "threads", "least"],
)
def test_the_same_input_gives_the_same_plan_byte_for_byte(
    model: ir.Model, batches: list[Feeds], options: QuantizeOptions
) -> None:
    one, other = (quantize_static(model.clone(), batches, S8_PRODUCTS, options) for _ in range(2))
    assert to_text(one.model) == to_text(other.model)
    assert one.smoothing == other.smoothing
    assert constants(one) == constants(other)
    assert plan_bytes(one.plan) == plan_bytes(other.plan)
    assert len(plan_bytes(one.plan)) == len(one.plan.linears) + len(one.plan.tables) + 2
    assert one.plan.to_json() == other.plan.to_json()


@pytest.mark.parametrize("smoothing", [True, False])
def test_progress_agrees_with_passes_over(model: ir.Model, batches: list[Feeds], smoothing: bool) -> None:
    done: list[int] = []
    options = replace(OPTIONS, smooth=smoothing)
    found = quantize_static(model, batches, FLOAT_PRODUCTS, options, advance=done.append)
    assert sum(done) == passes_over(batches) == 24
    assert min(done) >= 0
    assert any(each.alpha for each in found.smoothing) == smoothing
    assert not any(each.shifted for each in found.smoothing if not smoothing)


def test_options_leave_their_technique_out(model: ir.Model, batches: list[Feeds]) -> None:
    plain = replace(OPTIONS, smooth=False, rounding="nearest", bias_correction=False)
    found = quantize_static(model, batches, FLOAT_PRODUCTS, plain)
    assert to_text(found.model) == to_text(model)
    assert all(each.bias is None for each in found.plan.linears.values())
    unshifted = quantize_static(model, batches, FLOAT_PRODUCTS, replace(OPTIONS, shift=False))
    assert not any(each.shifted for each in unshifted.smoothing)
    described = found.plan.to_json()["scheme"]
    assert (described["smooth"], described["shift"], described["bias_correction"]) == (False, False, False)
    assert described["rounding"] == "nearest"


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_a_few_texts_are_enough(model: ir.Model, count: int) -> None:
    """The CLS row alone reaches the head, so that it sees as many rows as there are texts."""
    found = quantize_static(model, [encoder_feeds(count, 2, 1)], FLOAT_PRODUCTS, OPTIONS)
    for each in found.plan.linears.values():
        assert each.weight is not None
        assert np.isfinite(each.weight.dequantized()).all()
        assert each.bias is None or np.isfinite(each.bias).all()


@pytest.mark.parametrize("method", METHODS)
def test_no_method_beats_the_best(model: ir.Model, batches: list[Feeds], method: str) -> None:
    linear = linears_of(model.graph)[-1]
    name = str(linear.input.name)
    runner, observer = Runner(model, taps=[name], threads=1), RangeObserver()
    parts = [token_rows(runner(each)[name], each["attention_mask"].astype(bool)) for each in batches]
    rows, weight = np.concatenate(parts), linear.weight_array
    observer.update(rows)
    known = collect(model, [name], batches, threads=1)[name]
    np.testing.assert_array_equal(known.high, observer.channel_max)
    exact = rows @ weight

    def error(name: str) -> float:
        bounds = choose_range(observer, name, symmetric=False, signed=False)
        return activation_error(rows, weight, exact, bounds, symmetric=False)

    best = best_method(observer, rows, weight, symmetric=False, signed=False)
    assert error(best) <= error(method)


def test_an_unknown_method(model: ir.Model, batches: list[Feeds]) -> None:
    with pytest.raises(UsageError, match="unknown range method 'widest'"):
        quantize_static(
            model, batches, FLOAT_PRODUCTS, QuantizeOptions(ranges="widest", smooth=False, threads=1)
        )


def test_the_plan_belongs_to_the_smoothed_graph(model: ir.Model, batches: list[Feeds]) -> None:
    found = quantize_static(model, batches, S8_PRODUCTS, OPTIONS)
    encoder_graph = EncoderGraph.find(found.model).require()
    assert set(found.plan.attentions) == {
        str(attention_of(found.model, each.index).node.name) for each in encoder_graph.layers
    }
    roles = {each.role for each in found.plan.linears.values()}
    assert roles == {*encoder_graph.roles().values(), "head"}
