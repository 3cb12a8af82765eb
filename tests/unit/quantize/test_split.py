"""Outlying hidden channels become several, and the model stays the same function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from compiler.frontend.export import TracedModel
from compiler.ir.edit import sweep
from compiler.ir.execute import Runner
from compiler.ir.linear import linears_of
from compiler.ir.verify import verify
from compiler.quantize.layer import Rows, quantize_site
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.quantizer import quantize_static
from compiler.quantize.sites import sites_of
from compiler.quantize.split import ALIGNMENT, copies_of, places_of, split_outliers
from compiler.quantize.statistics import ChannelRange, collect
from tests.support.graphs import encoder
from tests.support.lowered import FLOAT_PRODUCTS, Case, make_case
from tests.support.simulate import simulate

OUTLIERS = [5, 900]

Reaches = arrays(np.float32, st.integers(32, 300), elements=st.floats(0.0, 100.0, width=32))


@given(Reaches)
@settings(max_examples=200, deadline=None)
def test_copies_are_bounded_and_never_raise_the_widest(reach: np.ndarray[Any, Any]) -> None:
    copies = copies_of(reach)
    extra = int(copies.sum()) - len(reach)
    assert copies.min() >= 1
    assert extra % ALIGNMENT == 0
    assert extra <= len(reach) // 32
    assert (reach / copies).max() <= reach.max()


def test_channels_of_one_range_stay_as_they_are() -> None:
    assert copies_of(np.full(512, 3.0, np.float32)).tolist() == [1] * 512
    assert copies_of(np.zeros(512, np.float32)).tolist() == [1] * 512


def test_an_outlier_is_brought_to_the_range_of_the_others() -> None:
    reach = np.full(1536, 2.0, np.float32)
    reach[7] = 24.0
    copies = copies_of(reach)
    assert copies[7] >= 6
    assert (reach / copies).max() <= 4.0


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.floats(-100, 100))
def test_copies_together_are_rounded_more_finely(copies: list[int], value: float) -> None:
    """Each channel's copies of one value, each rounded where it was shifted to, make `round(k x)`."""
    counts = np.array(copies)
    places = places_of(counts)
    owner = np.concatenate([np.arange(len(counts)), np.repeat(np.arange(len(counts)), counts - 1)])
    for channel, count in enumerate(counts):
        mine = places[owner == channel].astype(np.float64)
        assert len(mine) == count
        assert mine.sum() == pytest.approx(0, abs=1e-5)
        finest = value * count
        if abs(finest - np.floor(finest) - 0.5) > 1e-3:
            assert np.rint(value + mine).sum() == np.rint(finest)


@pytest.fixture(scope="module")
def case(traced: Callable[..., TracedModel]) -> Case:
    made = make_case(traced, intermediate_size=1024, num_hidden_layers=1)
    up, down = (each for each in linears_of(made.model.graph) if 1024 in each.weight_array.shape[:2])
    wide, narrow = up.weight_array.copy(), down.weight_array.copy()
    wide[:, OUTLIERS] *= 60.0
    narrow[OUTLIERS] /= 20.0
    for linear, array in ((up, wide), (down, narrow)):
        linear.weight.const_value = ir.tensor(array, name=linear.weight.name)
    return made


def test_the_graph_computes_the_same(case: Case) -> None:
    model = case.model.clone()
    known = collect(model, {str(site.value.name) for site in sites_of(model)}, case.feeds, threads=1)
    found = split_outliers(model, known)
    sweep(model.graph)
    verify(model)
    wider = [name for name in known if len(found[name].low) > len(known[name].low)]
    (name,) = wider
    grown = len(found[name].low) - 1024
    assert 0 < grown <= 32
    assert grown % ALIGNMENT == 0
    again = collect(model, wider, case.feeds, threads=1)
    np.testing.assert_allclose(again[name].high, found[name].high, rtol=1e-5, atol=1e-6)
    before, after = case.reference(), [Runner(model, threads=1)(each) for each in case.feeds]
    for one, other in zip(before, after, strict=True):
        for each in one:
            np.testing.assert_allclose(one[each], other[each], rtol=1e-4, atol=2e-5)


def test_the_plan_is_made_for_the_wider_graph(case: Case) -> None:
    split = quantize_static(case.model, case.feeds, FLOAT_PRODUCTS, QuantizeOptions(threads=1))
    whole = quantize_static(case.model, case.feeds, FLOAT_PRODUCTS, QuantizeOptions(split=False, threads=1))
    widths = {plan.role: plan.weight.values.shape for plan in split.plan.linears.values() if plan.weight}
    before = {plan.role: plan.weight.values.shape for plan in whole.plan.linears.values() if plan.weight}
    assert widths["layer0.ffn_up"][1] == widths["layer0.ffn_down"][0] > before["layer0.ffn_down"][0] == 1024
    for quantized in (split, whole):
        runner = simulate(quantized, tables=False)
        for wanted, feeds in zip(case.reference(), case.feeds, strict=True):
            assert np.abs(runner(feeds)["logits"] - wanted["logits"]).max() < 0.1


def test_staggered_copies_cost_the_layer_less() -> None:
    """Eight copies of one wide channel, read by equal weights, which all round alike in one place."""
    rng = np.random.default_rng(0)
    down = np.repeat(rng.standard_normal((5, 8)), [8, 1, 1, 1, 1], axis=0).astype(np.float32)
    site = next(each for each in sites_of(encoder(weights={"wdown0": down})) if len(each.weight) == 12)
    copies = np.array([8, 1, 1, 1, 1])
    rows = rng.uniform(-1, 1, (2000, 5)).astype(np.float32)
    order = np.repeat(np.arange(5), copies)
    exact = rows[:, order]
    places = np.concatenate([(np.arange(8) + 0.5) / 8 - 0.5, np.zeros(4)]).astype(np.float32)
    known = ChannelRange.of(exact)
    spread = ChannelRange(known.low, known.high, places)
    wanted = exact @ site.weight + site.bias
    options = QuantizeOptions(smooth=False, rounding="nearest", bias_correction=False, threads=1)
    errors = []
    for each in (known, spread):
        done = quantize_site(
            site, Rows(exact, exact, np.arange(2000) % 5 == 4), each, FLOAT_PRODUCTS, options
        )
        rounded = exact @ done.weight.dequantized() - exact @ site.weight
        errors.append(float(np.square(done(exact) - wanted - rounded, dtype=np.float64).mean()))
    assert errors[1] < errors[0] / 5
