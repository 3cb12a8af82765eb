"""Products solved anew on the pruned stream, on an encoder with a bias at every product and without."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from compiler.ir.edit import replace_value, sweep
from compiler.ir.execute import Runner
from compiler.ir.linear import Linear, linears_of
from compiler.ir.printer import to_text
from compiler.prune import sequential
from compiler.prune.materialize import Weights, channels, materialize
from compiler.prune.modules import PrunableModule, find_modules
from compiler.prune.obs import compensated, damped
from compiler.prune.refit import Refit
from compiler.prune.sequential import STEPS, Cut, Scope, solve_in_sequence
from compiler.prune.statistics import gather, weights_of
from tests.support.graphs import FFN, HIDDEN, encoder, encoder_feeds

Batches = list[dict[str, NDArray[np.int64]]]
HALF = {"layer0.heads": [0], "layer0.ffn": [0, 2, 3, 7, 8, 11], "layer1.ffn": [1, 4, 5, 6, 9, 10]}


def batches(count: int = 10, seed: int = 0) -> Batches:
    return [encoder_feeds(8, 9, seed=seed + each) for each in range(count)]


def cuts_of(model: ir.Model, kept: dict[str, list[int]], feeds: Batches) -> list[Cut]:
    """Every module, those that are named cut with the best compensation on the dense stream."""
    modules = find_modules(model).modules
    statistics = gather(model, modules, feeds, threads=1)
    return [_cut(each, kept.get(each.name), damped(statistics[each.name].gram)) for each in modules]


def _cut(module: PrunableModule, kept: list[int] | None, hessian: NDArray[np.float64]) -> Cut:
    groups = np.array(range(module.groups) if kept is None else kept, np.intp)
    weight, _ = weights_of(module)
    return Cut(module, groups, compensated(hessian, weight, channels(groups, module.group_size)))


def solved(
    model: ir.Model,
    kept: dict[str, list[int]],
    scope: Scope = "all",
    feeds: Batches | None = None,
) -> tuple[dict[str, Weights], dict[str, Refit], list[Cut]]:
    own = batches() if feeds is None else feeds
    cuts = cuts_of(model, kept, own)
    return *solve_in_sequence(model, cuts, own, scope=scope, threads=1), cuts


def drift(model: ir.Model, kept: dict[str, list[int]], scope: Scope) -> float:
    """The squared error of the pruned network's outputs on other texts than it was solved on."""
    weights, _, cuts = solved(model, kept, scope, batches(20))
    small = materialize(model, {each.module.name: each.groups for each in cuts if each.changes}, weights)
    wanted, found = Runner(model, threads=1), Runner(small, threads=1)
    error = 0.0
    for feeds in batches(10, seed=500):
        gap = wanted(feeds)["logits"] - found(feeds)["logits"]
        error += float(np.sum(gap[feeds["attention_mask"].astype(bool)] ** 2))
    return error


def without_bias(model: ir.Model, *names: str) -> ir.Model:
    for linear in linears_of(model.graph):
        if linear.name in names and linear.add is not None:
            replace_value(linear.add.outputs[0], linear.matmul.outputs[0])
    sweep(model.graph)
    assert all(each.bias_value is None for each in linears_of(model.graph) if each.name in names)
    return model


def linear_named(model: ir.Model, name: str) -> Linear:
    return next(each for each in linears_of(model.graph) if each.name == name)


def test_scope_none_is_the_compensated_weights_alone() -> None:
    model = encoder(layers=2, head="tokens")
    before = to_text(model)
    weights, refits, cuts = solved(model, HALF, "none")
    assert not refits
    assert set(weights) == {"o0", "down0", "down1"}
    for cut in cuts:
        if cut.changes:
            weight, bias = weights[cut.module.reader.name]
            assert bias is None
            assert weight.shape == cut.module.reader.weight_array.shape
            np.testing.assert_array_equal(weight[cut.columns], cut.weight)
            assert not np.delete(weight, cut.columns, axis=0).any()
    assert to_text(model) == before


@pytest.mark.parametrize("scope", ["none", "readers", "all"])
def test_nothing_cut_is_nothing_solved(scope: Scope) -> None:
    weights, refits, _ = solved(encoder(layers=1), {}, scope)
    assert not weights
    assert not refits


def test_readers_are_solved_or_all_products_behind_the_first_cut() -> None:
    model = encoder(layers=2, head="tokens")
    kept = {"layer0.ffn": HALF["layer0.ffn"]}
    _, readers, _ = solved(model, kept, "readers")
    assert list(readers) == ["down0", "o1", "down1"]
    weights, every, _ = solved(model, kept, "all")
    assert list(every) == ["down0", "q1", "k1", "v1", "o1", "up1", "down1", "head"]
    assert set(weights) <= set(every)


def test_a_refitted_network_is_nearer_to_the_dense_one() -> None:
    model = encoder(layers=2, head="tokens")
    none, readers, every = (drift(model, HALF, scope) for scope in ("none", "readers", "all"))
    assert readers < 0.7 * none
    assert every < readers


def test_no_solution_is_worse_on_held_out_texts() -> None:
    _, refits, _ = solved(encoder(layers=2, head="tokens"), HALF)
    assert all(each.after <= each.before for each in refits.values())
    assert any(each.after < 0.5 * each.before for each in refits.values())


@pytest.mark.parametrize(("place", "judges"), [(0, False), (2, True), (4, False)])
def test_every_fifth_batch_judges_and_is_not_fitted(place: int, judges: bool) -> None:
    model, feeds = encoder(layers=1, head="tokens"), batches(5)
    cuts = cuts_of(model, HALF, feeds)
    others = [encoder_feeds(8, 9, seed=99) if at == place else each for at, each in enumerate(feeds)]
    one, other = (
        solve_in_sequence(model, cuts, each, scope="readers", threads=1)[1]["o0"] for each in (feeds, others)
    )
    assert (one.before != other.before) is judges
    assert one.ridge is not None
    if one.ridge == other.ridge:
        assert np.array_equal(one.weight, other.weight) is judges


def test_removed_rows_are_zero_and_removed_columns_stay() -> None:
    model = encoder(layers=2, head="tokens")
    weights, _, cuts = solved(model, HALF)
    for cut in cuts:
        if cut.changes:
            gone = np.setdiff1d(np.arange(len(cut.module.reader.weight_array)), cut.columns)
            assert not weights[cut.module.reader.name][0][gone].any()
            for writer in cut.module.writers:
                if writer.name in weights:
                    weight, bias = weights[writer.name]
                    np.testing.assert_array_equal(weight[:, gone], writer.weight_array[:, gone])
                    assert bias is not None
                    assert writer.bias_array is not None
                    np.testing.assert_array_equal(bias[gone], writer.bias_array[gone])
    assert "up0" in weights


@pytest.mark.parametrize("kept", [HALF, {"layer0.heads": []}])
def test_products_without_a_bias_keep_none(kept: dict[str, list[int]]) -> None:
    bare = ("o0", "q1", "down1", "head")
    model = without_bias(encoder(layers=2, head="tokens"), *bare)
    weights, refits, cuts = solved(model, kept)
    assert set(bare) <= set(refits)
    assert {name for name, (_, bias) in weights.items() if bias is None} == set(weights) & set(bare)
    assert all(not refits[name].weight[-1].any() for name in bare)
    small = materialize(model, {each.module.name: each.groups for each in cuts if each.changes}, weights)
    left = {each.name: each for each in linears_of(small.graph)}
    assert all(left[name].bias_value is None for name in bare if name in left)


def test_a_product_that_is_too_wide_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = encoder(layers=2, head="tokens")
    kept = {"layer0.heads": [0]}
    assert "up1" in solved(model, kept)[1]
    monkeypatch.setattr(sequential, "WIDEST", FFN)
    assert "up1" in solved(model, kept)[1]
    monkeypatch.setattr(sequential, "WIDEST", FFN - 1)
    weights, refits, _ = solved(model, kept)
    assert not {"up0", "up1"} & {*weights, *refits}
    assert {"o0", "q1", "down1", "head"} <= set(refits)


def test_where_no_group_is_left_the_bias_is_the_mean_of_what_was_added() -> None:
    model = encoder(layers=1, head="tokens")
    feeds = batches(4)
    weights, refits, _ = solved(model, {"layer0.heads": []}, feeds=feeds)
    reader = linear_named(model, "o0")
    runner = Runner(model, taps=[str(reader.output.name)], threads=1)
    rows = np.concatenate(
        [runner(each)[str(reader.output.name)][each["attention_mask"].astype(bool)] for each in feeds]
    )
    weight, bias = weights["o0"]
    assert not weight.any()
    assert bias is not None
    assert reader.bias_array is not None
    np.testing.assert_allclose(bias, rows.mean(axis=0), atol=1e-5)
    assert not np.allclose(bias, reader.bias_array, atol=1e-2)
    assert refits["o0"].after < refits["o0"].before


def test_the_residuals_drift_is_made_up_for_by_the_next_reader() -> None:
    """Without its own groups a reader can still add the mean of what is missing in the stream."""
    model = encoder(layers=1, head="tokens")
    feeds = batches(4)
    kept: dict[str, list[int]] = {"layer0.heads": [], "layer0.ffn": []}
    weights, _, cuts = solved(model, kept, feeds=feeds)
    small = materialize(model, {each.module.name: each.groups for each in cuts}, weights)
    taps = [str(each.module.total.name) for each in cuts]
    wanted, found = Runner(model, taps=taps[1:], threads=1), Runner(small, taps=taps[1:], threads=1)
    gaps = [
        (wanted(each)[taps[1]] - found(each)[taps[1]])[each["attention_mask"].astype(bool)] for each in feeds
    ]
    np.testing.assert_allclose(np.concatenate(gaps).mean(axis=0), np.zeros(HIDDEN), atol=1e-5)


def test_pad_does_not_count() -> None:
    model = encoder(layers=1, head="tokens")
    feeds = batches(4)
    longer = [
        {name: np.pad(array, ((0, 0), (0, 5)), constant_values=7 if name == "input_ids" else 0) for
         name, array in each.items()} for each in feeds
    ]  # fmt: skip
    one, other = (solved(model, HALF, feeds=each)[0] for each in (feeds, longer))
    assert list(one) == list(other)
    for name, (weight, _) in one.items():
        np.testing.assert_allclose(other[name][0], weight, atol=1e-3)


def test_all_of_the_work_is_told() -> None:
    model = encoder(layers=2, head="tokens")
    cuts = cuts_of(model, HALF, batches(2))
    told: list[int] = []
    solve_in_sequence(model, cuts, batches(2), threads=1, advance=told.append)
    assert sum(told) == STEPS
    assert len(told) > len(cuts)
