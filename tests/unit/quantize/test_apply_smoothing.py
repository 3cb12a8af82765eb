from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx_ir as ir
import pytest

from compiler.frontend.export import TracedModel
from compiler.ir.edit import op, replace_value, sweep
from compiler.ir.encoder import EncoderGraph
from compiler.ir.execute import Runner
from compiler.ir.linear import linears_of
from compiler.ir.printer import to_text
from compiler.ir.verify import verify
from compiler.passes.base import Pass
from compiler.passes.fold_constants import FoldConstants
from compiler.passes.fuse_qkv import FuseQkv
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.quantize.apply_smoothing import apply_smoothing
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.quantizer import quantize_static
from compiler.quantize.sites import Site, sites_of
from compiler.quantize.smooth import Transform
from targets.spec import QuantScheme
from tests.support.graphs import Arrays, attention_of, encoder, encoder_feeds, ramp
from tests.support.parity import assert_parity, random_feeds

FEEDS = [encoder_feeds(4, 9, seed) for seed in range(3)]
SCHEME = QuantScheme("u8", True, 127, "float", "float")
UNFUSED = [each for each in encoder_passes() if not isinstance(each, FuseQkv)]
PIPELINES = {"unfused": UNFUSED, "fused": encoder_passes()}


def drawn(channels: int, seed: int, *, shift: bool = True) -> Transform:
    """A transform with no channel like another."""
    rng = np.random.default_rng(seed)
    scale = (2.0 ** rng.uniform(-2, 2, channels)).astype(np.float32)
    moved = rng.standard_normal(channels).astype(np.float32)
    return Transform(scale, moved if shift else np.zeros(channels, np.float32), 0.5, 2.0)


def transform_all(model: ir.Model, *, shift: bool | None = None) -> list[Site]:
    """Put a transform at every site, with a shift wherever there is a place for it."""
    sites = sites_of(model)
    for seed, site in enumerate(sites):
        wanted = site.can_shift if shift is None else shift
        apply_smoothing(model.graph, site, drawn(len(site.weight), seed, shift=wanted))
    sweep(model.graph)
    verify(model)
    return sites


def assert_same_function(
    one: ir.Model, other: ir.Model, feeds: Iterable[Arrays] = FEEDS, atol: float = 1e-4
) -> None:
    first, second = Runner(one, threads=1), Runner(other, threads=1)
    for each in feeds:
        wanted, got = first(each), second(each)
        assert wanted.keys() == got.keys()
        for name, value in wanted.items():
            np.testing.assert_allclose(got[name], value, atol=atol, rtol=0, err_msg=name)


def without_bias(model: ir.Model, names: Iterable[str]) -> None:
    """Take the bias off the projections named."""
    for linear in linears_of(model.graph):
        if linear.name in names and linear.add is not None:
            replace_value(linear.add.outputs[0], linear.matmul.outputs[0])
    sweep(model.graph)


def config_of(found: TracedModel) -> tuple[int, int]:
    assert found.reference is not None
    config = found.reference.wrapper.model.config  # type: ignore[attr-defined]
    return int(config.vocab_size), int(config.pad_token_id)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_the_function_is_kept_on_every_family(
    traced: Callable[..., TracedModel], family: str, pipeline: str
) -> None:
    found = traced(family, "text-classification")
    vocab_size, pad_id = config_of(found)
    PassManager(PIPELINES[pipeline]).run(found.model)
    before = found.model.clone()
    sites = transform_all(found.model)
    assert all(site.can_shift for site in sites)
    assert sum(site.fold is not None for site in sites) == 2
    feeds = [
        random_feeds(4, 12, vocab_size=vocab_size, pad_id=pad_id, seed=seed, padding_side=side)
        for seed, side in enumerate(("right", "left"))
    ]
    assert all((each["attention_mask"] == 0).any() for each in feeds)
    assert_parity(Runner(before, threads=1), Runner(found.model, threads=1), feeds, atol=1e-4)


@pytest.mark.parametrize("passes", [(), (FuseQkv(),), encoder_passes()], ids=["unfused", "fused", "all"])
@pytest.mark.parametrize("head", ["cls", "tokens"])
def test_the_function_and_the_roles_are_kept(passes: tuple[Pass, ...], head: str) -> None:
    model = encoder(layers=2, head=head)
    PassManager(passes).run(model)
    before = model.clone()
    transform_all(model)
    assert_same_function(before, model)
    assert EncoderGraph.find(model).require().roles() == EncoderGraph.find(before).roles()


@pytest.mark.parametrize("fused", [False, True])
def test_without_a_qkv_bias_nothing_is_shifted_there(fused: bool) -> None:
    model = encoder(layers=2)
    without_bias(model, [f"{each}{index}" for each in "qkv" for index in (0, 1)])
    if fused:
        FuseQkv().run(model)
    before = model.clone()
    sites = transform_all(model)
    assert_same_function(before, model)
    readers = [attention_of(before, index) for index in (0, 1)]
    still = {name for each in readers for name in (each.input.name, each.node.outputs[0].name)}
    assert {site.value.name for site in sites if not site.can_shift} == still
    assert {site.value.name for site in sites if site.fold} == {each.node.outputs[0].name for each in readers}


def test_a_search_shifts_only_where_there_is_a_bias() -> None:
    """Every LayerNorm's output lies far from zero, so that a shift is wanted everywhere."""
    model = encoder(layers=1, weights={"beta": ramp(8, step=13) * np.float32(30)})
    without_bias(model, ["q0", "k0", "v0"])
    before = model.clone()
    found = quantize_static(model, FEEDS, SCHEME, QuantizeOptions(ranges="minmax", threads=1))
    shifted = {each.role for each in found.smoothing if each.shifted}
    assert "layer0.ffn_up" in shifted
    assert not shifted & {"layer0.query", "layer0.attention_output"}
    assert_same_function(before, found.model, atol=1e-3)
    assert all(found.plan.linears[name].bias is None for name in ("q0", "k0", "v0"))


def test_some_biases_are_not_enough() -> None:
    model = encoder(layers=1)
    without_bias(model, ["k0"])
    sites = {site.role: site for site in sites_of(model)}
    assert not sites["layer0.query"].can_shift
    assert sites["layer0.attention_output"].can_shift
    np.testing.assert_array_equal(sites["layer0.query"].bias[8:16], 0)
    before = model.clone()
    transform_all(model)
    assert_same_function(before, model)


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_values_are_folded_into_both_sides(fused: bool, shift: bool) -> None:
    model = encoder(layers=2)
    if fused:
        FuseQkv().run(model)
    before, offset = model.clone(), 16 if fused else 0
    nodes = len(model.graph)
    for site in sites_of(model):
        if site.fold is not None:
            assert site.fold.columns == slice(offset, offset + 8)
            apply_smoothing(model.graph, site, drawn(8, 1, shift=shift))
    assert len(model.graph) == nodes
    known = drawn(8, 1, shift=shift)
    for old, new in ((attention_of(before, index), attention_of(model, index)) for index in (0, 1)):
        assert new.output.matmul.inputs[0] is new.node.outputs[0]
        assert old.value is not None
        assert new.value is not None
        was, now = old.value.weight_array, new.value.weight_array
        np.testing.assert_array_equal(was[:, :offset], now[:, :offset])
        np.testing.assert_allclose(was[:, offset:], now[:, offset:] * known.scale, rtol=1e-6)
        first, second = old.value.bias_array, new.value.bias_array
        assert first is not None
        assert second is not None
        np.testing.assert_array_equal(first[:offset], second[:offset])
        np.testing.assert_allclose(second[offset:], known(first[offset:]), rtol=1e-6)
        was, now = old.output.weight_array, new.output.weight_array
        np.testing.assert_allclose(now, was * known.scale[:, None], rtol=1e-6)
    assert_same_function(before, model)


@pytest.mark.parametrize("shift", [False, True])
def test_elsewhere_a_vector_stands_before_the_layers_and_the_residual_is_untouched(shift: bool) -> None:
    model = encoder(layers=1)
    nodes = len(model.graph)
    site = next(each for each in sites_of(model) if each.role == "layer0.ffn_up")
    readers = {use.node for use in site.value.uses()} - {each.matmul for each in site.linears}
    before = model.clone()
    apply_smoothing(model.graph, site, drawn(8, 3, shift=shift))
    added = [node for node in model.graph if str(node.name).startswith(f"{site.value.name}_")]
    assert [node.op_type for node in added] == (["Mul", "Add"] if shift else ["Mul"])
    assert len(model.graph) == nodes + len(added)
    assert readers == {use.node for use in site.value.uses()} - {added[0]}
    assert all(op(node, "Add") for node in readers)
    assert all(node.inputs[1] is not None and node.inputs[1].is_initializer() for node in added)
    assert_same_function(before, model)


@pytest.mark.parametrize("fused", [False, True])
def test_values_that_are_also_the_keys_are_not_folded(fused: bool) -> None:
    model = encoder(
        weights={"wk0": ramp(8, 8, step=57), "wv0": ramp(8, 8, step=57), "bv0": ramp(8), "bk0": ramp(8)}
    )
    FoldConstants().run(model)
    if fused:
        FuseQkv().run(model)
    before = model.clone()
    assert not any(site.fold for site in transform_all(model))
    assert_same_function(before, model)


def test_a_value_that_leaves_the_graph_keeps_its_numbers() -> None:
    model = encoder()
    value = attention_of(model).node.inputs[2]
    assert value is not None
    model.graph.outputs.append(value)
    before = model.clone()
    transform_all(model)
    assert_same_function(before, model, atol=1e-5)


def test_the_identity_changes_nothing() -> None:
    model = encoder(layers=2)
    before = to_text(model)
    for site in sites_of(model):
        apply_smoothing(model.graph, site, Transform.identity(len(site.weight)))
    assert to_text(model) == before


def test_a_second_time_keeps_the_function() -> None:
    model = encoder(layers=2)
    before = model.clone()
    transform_all(model)
    transform_all(model)
    assert_same_function(before, model)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_quantize_static_leaves_the_same_function_on_every_family(
    traced: Callable[..., TracedModel], family: str, pipeline: str
) -> None:
    """The graph that belongs to the plan is still exact: only the plan rounds."""
    found = traced(family, "token-classification", layers=1)
    vocab_size, pad_id = config_of(found)
    PassManager(PIPELINES[pipeline]).run(found.model)
    feeds = [random_feeds(4, 12, vocab_size=vocab_size, pad_id=pad_id, seed=seed) for seed in range(2)]
    options = QuantizeOptions(ranges="minmax", threads=1)
    quantized = quantize_static(found.model, feeds, SCHEME, options)
    assert any(each.alpha for each in quantized.smoothing)
    assert_parity(Runner(found.model, threads=1), Runner(quantized.model, threads=1), feeds, atol=1e-4)
