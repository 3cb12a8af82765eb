"""Modules, cutting and the whole of pruning, on tiny models of every family with padding."""

from __future__ import annotations

from collections.abc import Callable

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
from compiler.prune.materialize import Kept, materialize
from compiler.prune.modules import PrunableModule, find_modules
from compiler.prune.prune import PruneOptions, levels_of, prune
from targets.errors import UsageError
from tests.support.graphs import encoder, encoder_feeds, ffn_of
from tests.support.models import FAMILIES
from tests.support.parity import Feeds, random_feeds
from tests.support.pruning import masked

Traced = Callable[..., TracedModel]
OPTIONS = PruneOptions(0.6, align=4, length=12, threads=1)


def passed(traced: Traced, family: str = "bert", task: str = "text-classification") -> ir.Model:
    model = traced(family, task).model
    PassManager(encoder_passes(fuse_qkv=False)).run(model)
    return model


def batches(count: int = 6) -> list[Feeds]:
    return [random_feeds(4, 12, vocab_size=300, seed=seed) for seed in range(count)]


def cuts(modules: tuple[PrunableModule, ...], seed: int = 0) -> dict[str, Kept]:
    """Another number of groups in every module."""
    rng = np.random.default_rng(seed)
    found = {}
    for place, each in enumerate(modules):
        count = max(1, each.groups - 1 - place % each.groups)
        found[each.name] = Kept(np.sort(rng.permutation(each.groups)[:count]))
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
    counts = [len(each.groups) for each in kept.values()]
    assert left == list(zip(counts[::2], counts[1::2], strict=True))


def test_everything_kept_is_the_same_graph(traced: Traced) -> None:
    model = passed(traced)
    whole = {each.name: Kept(np.arange(each.groups)) for each in find_modules(model).modules}
    assert to_text(materialize(model, whole)) == to_text(model)
    assert prune(model, batches(), PruneOptions(1.0)).model is model


@pytest.mark.parametrize("groups", [[0], []])
def test_cuts_that_cannot_be(traced: Traced, groups: list[int]) -> None:
    with pytest.raises(ValueError, match="cannot be cut down"):
        materialize(passed(traced), {"layer9.heads": Kept(np.array(groups, np.intp))})


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
    done = prune(model, batches(), OPTIONS)
    assert to_text(model) == before
    verify(done.model)
    assert 0 < done.flops_kept <= OPTIONS.flops
    assert any(each.kept < each.groups for each in done.modules)
    for each in done.modules:
        assert each.kept == each.groups or each.name.endswith("heads") or each.kept % OPTIONS.align == 0
        assert each.refit is None or each.refit.after <= each.refit.before
    for feeds in batches(2):
        assert all(np.isfinite(array).all() for array in Runner(done.model, threads=1)(feeds).values())


def test_refits_bring_the_logits_nearer(traced: Traced) -> None:
    model = passed(traced)
    errors = {}
    for refit in (True, False):
        options = PruneOptions(0.6, align=4, length=12, refit=refit, threads=1)
        found = prune(model, batches(24), options)
        wanted, got = (Runner(each, threads=1) for each in (model, found.model))
        errors[refit] = sum(
            float(np.sum((wanted(each)["logits"] - got(each)["logits"]) ** 2)) for each in batches(24)
        )
    assert errors[True] < errors[False]


def test_the_same_twice(traced: Traced) -> None:
    model = passed(traced)
    one, other = (prune(model, batches(), OPTIONS) for _ in range(2))
    assert to_text(one.model) == to_text(other.model)
    assert_same(one.model, other.model, batches(1), 0.0)


def test_only_what_may_be_cut_is(traced: Traced) -> None:
    options = PruneOptions(0.8, targets=("ffn",), align=4, length=12, threads=1)
    done = prune(passed(traced), batches(), options)
    assert {each.name.split(".")[1] for each in done.modules} == {"ffn"}
    assert done.flops_kept <= 0.8


@pytest.mark.parametrize("flops", [0.0, -1.0, 1.01])
def test_budgets_that_are_none(flops: float) -> None:
    with pytest.raises(UsageError, match="no share of the FLOPs"):
        prune(encoder(), [encoder_feeds()], PruneOptions(flops))


def test_a_budget_out_of_reach(traced: Traced) -> None:
    with pytest.raises(UsageError, match="out of reach"):
        prune(passed(traced), batches(), PruneOptions(0.01, targets=("ffn",), align=4, length=12, threads=1))


def test_almost_nothing_left(traced: Traced) -> None:
    model = passed(traced)
    done = prune(model, batches(), PruneOptions(0.01, align=4, length=12, threads=1))
    verify(done.model)
    assert done.flops_kept <= 0.01
    assert sum(each.kept == 0 for each in done.modules) >= len(done.modules) - 1
    wanted, found = (Runner(each, threads=1) for each in (model, done.model))
    for feeds in batches(2):
        assert found(feeds)["logits"].shape == wanted(feeds)["logits"].shape


def test_levels() -> None:
    model = encoder(layers=1)
    heads, ffn = find_modules(model).modules
    assert levels_of(heads, 4) == list(range(heads.groups, -1, -1))
    assert levels_of(ffn, ffn.groups // 2) == [ffn.groups, ffn.groups // 2, 0]
    assert levels_of(ffn, ffn.groups * 2) == [ffn.groups, 0]
