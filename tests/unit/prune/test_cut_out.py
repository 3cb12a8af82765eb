"""Attention and feed-forward networks that are cut out whole, on tiny models of every family with padding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from compiler.frontend.export import TracedModel
from compiler.ir.edit import op, produced_by
from compiler.ir.encoder import EncoderGraph
from compiler.ir.execute import Runner, clone
from compiler.ir.verify import verify
from compiler.passes.fold_constants import FoldConstants
from compiler.passes.fuse_qkv import FuseQkv
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.prune.materialize import materialize
from compiler.prune.modules import find_modules
from tests.support.graphs import encoder, encoder_feeds
from tests.support.models import FAMILIES
from tests.support.parity import Feeds, random_feeds
from tests.support.pruning import CUTS, NONE_LEFT, cut, kept_of, masked, sizes_found, sizes_left

Traced = Callable[..., TracedModel]
NONE = np.array([], np.intp)
FEEDS = [random_feeds(4, 12, vocab_size=300, seed=seed) for seed in range(2)]


def passed(traced: Traced, family: str, task: str) -> ir.Model:
    model = traced(family, task, layers=3).model
    PassManager(encoder_passes(fuse_qkv=False)).run(model)
    return model


def assert_same(one: ir.Model, other: ir.Model, feeds: list[Feeds], atol: float = 1e-4) -> None:
    first, second = Runner(one, threads=1), Runner(other, threads=1)
    for each in feeds:
        wanted, found = first(each), second(each)
        for name, array in wanted.items():
            np.testing.assert_allclose(found[name], array, atol=atol, rtol=0, err_msg=name)


def products(model: ir.Model) -> int:
    return sum(op(node, "MatMul") for node in model.graph)


@pytest.mark.parametrize(
    ("family", "task"),
    [*((each, "text-classification") for each in FAMILIES), ("bert", "fill-mask"), ("electra", "fill-mask")],
)
def test_a_graph_with_blocks_cut_out_is_the_masked_one(traced: Traced, family: str, task: str) -> None:
    model = passed(traced, family, task)
    roles = EncoderGraph.find(model).roles()
    for name, counts in CUTS.items():
        kept = kept_of(model, counts)
        small = materialize(model, kept)
        verify(small)
        assert sizes_found(small) == sizes_left(counts), name
        assert_same(masked(model, kept), small, FEEDS)
        left = EncoderGraph.find(small).roles()
        assert left.items() <= roles.items(), name
        gone = [4 if each.endswith("heads") else 2 for each, count in counts.items() if not count]
        assert products(small) == products(model) - sum(gone)
        names = {each.name for each in find_modules(model).modules}
        assert {each.name for each in find_modules(small).modules} == names - {
            each for each, count in counts.items() if not count
        }


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_the_passes_after_pruning_change_nothing_of_it(traced: Traced, family: str) -> None:
    model = passed(traced, family, "text-classification")
    for counts in CUTS.values():
        small = cut(model, counts)
        before = clone(small)
        PassManager((FuseQkv(), FoldConstants())).run(small)
        assert sizes_found(small) == sizes_left(counts)
        assert_same(before, small, FEEDS)


def test_a_cut_in_steps_is_the_cut_at_once(traced: Traced) -> None:
    model = passed(traced, "bert", "text-classification")
    once, steps = cut(model, NONE_LEFT), model
    for name in NONE_LEFT:
        steps = materialize(steps, {name: NONE})
    assert sizes_found(steps) == []
    assert_same(once, steps, FEEDS, 0.0)


def test_the_row_of_a_last_layer_on_one_row_stays(traced: Traced) -> None:
    model = passed(traced, "bert", "text-classification")
    small = cut(model, {"layer2.heads": 0})
    (layer,) = [each for each in EncoderGraph.find(small).layers if each.index == 2]
    addition = produced_by(layer.input.producer().inputs[0], "Add")  # type: ignore[union-attr]
    assert addition is not None
    assert any(produced_by(each, "Gather") is not None for each in addition.inputs)
    assert layer.input.shape == ir.Shape(["batch", 1, 32])


def test_the_bias_that_is_given_is_what_stays() -> None:
    model = encoder(layers=2)
    biases = {"layer0.heads": np.full(8, 0.5), "layer1.ffn": np.arange(8) / 8}
    readers = {each.name: each.reader for each in find_modules(model).modules}
    weights = {readers[name].name: (readers[name].weight_array, bias) for name, bias in biases.items()}
    small = materialize(model, dict.fromkeys(biases, NONE), weights)
    verify(small)
    nodes = {node.name: node for node in small.graph}
    for name, bias in zip(("add_o0", "add_f1"), biases.values(), strict=True):
        found = [each.const_value for each in nodes[name].inputs if each is not None and each.const_value]
        assert len(found) == 1
        np.testing.assert_array_equal(found[0].numpy(), bias.astype(np.float32))


def without_biases(model: ir.Model, *names: str) -> ir.Model:
    for name in names:
        add = next(node for node in model.graph if node.name == f"{name}_bias")
        product = next(each for each in add.inputs if each is not None and each.producer() is not None)
        ir.convenience.replace_all_uses_with(add.outputs[0], product)
        model.graph.remove(add, safe=True)
    return model


@pytest.mark.parametrize("counts", [each for each in CUTS.values() if not all(each.values())])
def test_without_a_bias_the_addition_goes_too(counts: dict[str, int]) -> None:
    model = without_biases(encoder(layers=3), *(f"{name}{i}" for name in ("o", "down") for i in range(3)))
    kept = kept_of(model, {name: count // 4 for name, count in counts.items()})
    small = materialize(model, kept)
    verify(small)
    left = sizes_left({name: len(each) for name, each in kept.items()}, heads=2, intermediate=12)
    assert sizes_found(small) == left
    assert_same(masked(model, kept), small, [encoder_feeds()])
    adds = {node.name for node in small.graph} & {f"add_{each}{i}" for each in "of" for i in range(3)}
    assert len(adds) == 6 - sum(not len(each) for each in kept.values())
