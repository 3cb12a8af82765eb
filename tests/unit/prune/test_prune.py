"""Modules, cutting and the whole of pruning, on tiny models of every family with padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compiler.frontend.export import TracedModel
from compiler.ir.edit import add_initializer
from compiler.ir.encoder import EncoderGraph
from compiler.ir.execute import Runner
from compiler.ir.printer import to_text
from compiler.ir.verify import verify
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.prune.cost import Flops
from compiler.prune.directions import answers_of
from compiler.prune.materialize import Groups, materialize
from compiler.prune.modules import PrunableModule, find_modules
from compiler.prune.options import PruneOptions
from compiler.prune.prune import Pruned, Pruner, levels_of
from targets.errors import UsageError
from tests.support.graphs import encoder, ffn_of
from tests.support.models import FAMILIES, TASKS
from tests.support.parity import Feeds, random_feeds
from tests.support.pruning import masked

Traced = Callable[..., TracedModel]
OPTIONS = PruneOptions(align=4, threads=1)
LENGTH = 12


def passed(traced: Traced, family: str = "bert", task: str = "text-classification") -> ir.Model:
    model = traced(family, task).model
    PassManager(encoder_passes(fuse_qkv=False)).run(model)
    return model


def batches(count: int = 6) -> list[Feeds]:
    return [random_feeds(4, 12, vocab_size=300, seed=seed) for seed in range(count)]


def pruned(
    model: ir.Model,
    share: float,
    options: PruneOptions = OPTIONS,
    count: int = 6,
    task: str = "text-classification",
) -> Pruned:
    pruner = Pruner(model, batches(count), answers_of(task), options)
    return pruner.cut(pruner.allocate(Flops(LENGTH), share), LENGTH)


def cuts(modules: tuple[PrunableModule, ...], seed: int = 0) -> dict[str, Groups]:
    """Another number of groups in every module."""
    rng = np.random.default_rng(seed)
    found = {}
    for place, each in enumerate(modules):
        count = max(1, each.groups - 1 - place % each.groups)
        found[each.name] = np.sort(rng.permutation(each.groups)[:count])
    return found


def assert_same(one: ir.Model, other: ir.Model, feeds: list[Feeds], atol: float) -> None:
    first, second = Runner(one, threads=1), Runner(other, threads=1)
    for each in feeds:
        wanted, found = first(each), second(each)
        for name, array in wanted.items():
            np.testing.assert_allclose(found[name], array, atol=atol, rtol=0, err_msg=name)


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_a_sliced_graph_is_the_masked_one(traced: Traced, family: str, task: str) -> None:
    model = passed(traced, family, task)
    found = find_modules(model)
    layers = len(EncoderGraph.find(model).layers)
    assert [each.name for each in found.modules] == [
        f"layer{index}.{kind}" for index in range(layers) for kind in ("heads", "ffn")
    ]
    assert not found.declined
    kept = cuts(found.modules)
    small = materialize(model, kept)
    verify(small)
    assert_same(masked(model, kept), small, batches(2), 1e-4)
    left = [(each.heads, each.intermediate) for each in EncoderGraph.find(small).require().layers]
    counts = [len(each) for each in kept.values()]
    assert left == list(zip(counts[::2], counts[1::2], strict=True))


def test_everything_kept_is_the_same_graph(traced: Traced) -> None:
    model = passed(traced)
    whole = {each.name: np.arange(each.groups) for each in find_modules(model).modules}
    assert to_text(materialize(model, whole)) == to_text(model)
    assert pruned(model, 1.0).model is model


@pytest.mark.parametrize("groups", [[0], []])
def test_cuts_that_cannot_be(traced: Traced, groups: list[int]) -> None:
    with pytest.raises(ValueError, match="cannot be cut down"):
        materialize(passed(traced), {"layer9.heads": np.array(groups, np.intp)})


def test_an_activation_with_an_operand_for_each_channel_is_declined() -> None:
    model = encoder(layers=1)
    ffn = ffn_of(model)
    gain = add_initializer(model.graph, "gain", np.full(ffn.intermediate, 2.0, np.float32))
    activation = next(iter(ffn.up.output.uses())).node
    scaled = ir.node("Mul", [ffn.up.output, gain], name="scaled")
    activation.replace_input_with(0, scaled.outputs[0])
    model.graph.insert_before(activation, scaled)
    found = find_modules(model)
    assert [each.name for each in found.modules] == ["layer0.heads"]
    assert found.declined == {"layer0.ffn": "scaled has an operand for each channel"}


def test_products_in_one_are_declined(traced: Traced) -> None:
    model = traced("bert", "text-classification").model
    PassManager(encoder_passes(fuse_qkv=True)).run(model)
    assert "are not three products" in find_modules(model).declined["layer0.heads"]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_pruning_holds_its_budget(traced: Traced, family: str) -> None:
    model = passed(traced, family)
    before = to_text(model)
    done = pruned(model, 0.6)
    assert to_text(model) == before
    verify(done.model)
    assert 0 < done.flops_kept <= 0.6
    assert any(each.kept < each.groups for each in done.modules)
    for each in done.modules:
        assert each.kept == each.groups or each.name.endswith("heads") or each.kept % OPTIONS.align == 0
    assert done.refits
    assert all(each.after <= each.before for each in done.refits.values())
    for feeds in batches(2):
        assert all(np.isfinite(array).all() for array in Runner(done.model, threads=1)(feeds).values())


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_weighed_by_its_answers(traced: Traced, task: str) -> None:
    heard: list[str] = []
    model = passed(traced, "bert", task)
    pruner = Pruner(model, batches(), answers_of(task), OPTIONS, warn=heard.append)
    told: list[int] = []
    pruner.weigh(told.append)
    assert sum(told) == pruner.steps
    assert not heard
    done = pruner.cut(pruner.allocate(Flops(LENGTH), 0.7), LENGTH)
    verify(done.model)
    assert done.flops_kept <= 0.7


def drift(model: ir.Model, small: ir.Model) -> float:
    wanted, got = (Runner(each, threads=1) for each in (model, small))
    return sum(float(np.sum((wanted(each)["logits"] - got(each)["logits"]) ** 2)) for each in batches(24))


def test_each_step_of_the_method_brings_the_logits_nearer(traced: Traced) -> None:
    model = passed(traced)
    simpler = {
        "all": OPTIONS,
        "readers": replace(OPTIONS, refit="readers"),
        "none": replace(OPTIONS, refit="none"),
        "magnitude": replace(OPTIONS, refit="none", select="magnitude"),
    }
    errors = [drift(model, pruned(model, 0.6, each, 24).model) for each in simpler.values()]
    assert errors == sorted(errors)


@pytest.mark.parametrize("select", ["wanda", "magnitude"])
@pytest.mark.parametrize("allocation", ["error", "uniform"])
def test_simpler_methods_hold_the_budget_too(traced: Traced, select: Any, allocation: Any) -> None:
    options = replace(OPTIONS, select=select, allocation=allocation, refit="none", metric=False)
    done = pruned(passed(traced), 0.6, options)
    assert 0.3 < done.flops_kept <= 0.6
    assert not done.refits


def test_what_cannot_be_differentiated_is_weighed_by_the_layers(traced: Traced) -> None:
    model = passed(traced)
    (logits,) = model.graph.outputs
    node = logits.producer()
    assert node is not None
    odd = ir.node("CumSum", [node.outputs[0], add_initializer(model.graph, "axis", np.int64(1))], name="odd")
    logits.name, odd.outputs[0].name = "raw", "logits"
    odd.outputs[0].type, odd.outputs[0].shape = logits.type, logits.shape
    model.graph.append(odd)
    model.graph.outputs[0] = odd.outputs[0]
    heard: list[str] = []
    pruner = Pruner(model, batches(), answers_of("text-classification"), OPTIONS, warn=heard.append)
    pruner.weigh()
    assert len(heard) == 1
    assert "CumSum (odd) cannot be differentiated" in heard[0]
    assert pruner.cut(pruner.allocate(Flops(LENGTH), 0.6), LENGTH).flops_kept <= 0.6


def test_the_same_twice(traced: Traced) -> None:
    model = passed(traced)
    one, other = (pruned(model, 0.6) for _ in range(2))
    assert to_text(one.model) == to_text(other.model)
    assert_same(one.model, other.model, batches(1), 0.0)


def test_only_what_may_be_cut_is(traced: Traced) -> None:
    done = pruned(passed(traced), 0.8, replace(OPTIONS, targets=("ffn",)))
    assert {each.name.split(".")[1] for each in done.modules} == {"ffn"}
    assert done.flops_kept <= 0.8


def test_a_budget_that_cuts_everything(traced: Traced) -> None:
    done = pruned(passed(traced), 1e-6)
    assert done.flops_kept == 0.0
    verify(done.model)
    assert_same(done.model, done.model, batches(1), 0.0)


def test_a_budget_out_of_reach(traced: Traced) -> None:
    with pytest.raises(UsageError, match="out of reach"):
        pruned(passed(traced), 0.01, replace(OPTIONS, targets=("ffn",)))


def test_a_choice_that_was_made_for_another_model(traced: Traced) -> None:
    pruner = Pruner(passed(traced), batches(), (), OPTIONS)
    groups = {each.name: each.groups for each in pruner.modules}
    pruner.check(groups, dict.fromkeys(groups, 0))
    first, other = next(iter(groups)), next(each for each in groups if each.endswith("ffn"))
    for wrong in ({first: groups[first]}, {**groups, first: groups[first] + 1}, {**groups, "own": 1}):
        with pytest.raises(UsageError, match="not the modules of the model"):
            pruner.check(wrong, dict.fromkeys(wrong, 0))
    with pytest.raises(UsageError, match=f"{other} cannot be cut to 3"):
        pruner.check(groups, {**groups, other: 3})
    assert not pruner.weighed


def test_levels() -> None:
    model = encoder(layers=1)
    heads, ffn = find_modules(model).modules
    assert levels_of(heads, 4) == list(range(heads.groups, -1, -1))
    assert levels_of(ffn, ffn.groups // 2) == [ffn.groups, ffn.groups // 2, 0]
    assert levels_of(ffn, ffn.groups * 2) == [ffn.groups, 0]
