"""Simpler rankings and the even allocation, against what their definitions say."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.prune.allocate import Level, Module, allocate, allocate_uniform
from compiler.prune.baselines import magnitude_scores, ranked_path, wanda_scores
from targets.errors import UsageError


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_magnitude_is_the_squared_norm_of_a_groups_rows(groups: int, size: int, seed: int) -> None:
    weight = np.random.default_rng(seed).normal(size=(groups * size, 3))
    wanted = [np.linalg.norm(weight[at * size : (at + 1) * size]) ** 2 for at in range(groups)]
    np.testing.assert_allclose(magnitude_scores(weight, size), wanted)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_wanda_is_the_squared_norm_of_what_each_row_adds(groups: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, weight = rng.normal(size=(20, groups * size)), rng.normal(size=(groups * size, 3))
    wanted = [
        sum(np.sum(np.outer(inputs[:, row], weight[row]) ** 2) for row in range(at * size, (at + 1) * size))
        for at in range(groups)
    ]
    np.testing.assert_allclose(wanda_scores(inputs.T @ inputs, weight, size), wanted)


def test_wanda_sees_inputs_and_magnitude_does_not() -> None:
    weight = np.array([[2.0], [1.0]])
    gram = np.diag([1.0, 100.0])
    assert magnitude_scores(weight, 1).argmax() == 0
    assert wanda_scores(gram, weight, 1).argmax() == 1


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_a_path_keeps_the_largest_and_adds_up_the_rest(scores: list[float]) -> None:
    levels = range(len(scores), -1, -1)
    snapshots = list(ranked_path(np.array(scores), levels))
    assert [len(each.kept) for each in snapshots] == list(levels)
    for before, each in pairwise(snapshots):
        assert set(each.kept.tolist()) < set(before.kept.tolist())
    for each in snapshots:
        kept = each.kept.tolist()
        gone = [score for place, score in enumerate(scores) if place not in kept]
        assert kept == sorted(kept)
        assert max(gone, default=0.0) <= min((scores[place] for place in kept), default=np.inf)
        assert each.error == pytest.approx(sum(gone))


def test_of_equal_scores_the_first_stay() -> None:
    (found,) = ranked_path(np.ones(5), [3])
    assert found.kept.tolist() == [0, 1, 2]


def module_of(groups: int, cost: float, step: int = 1) -> Module:
    levels = range(groups, -1, -step)
    return Module("m", tuple(Level(kept, kept * cost, float(groups - kept)) for kept in levels))


MODULES = st.lists(st.builds(module_of, st.integers(1, 9), st.floats(0.1, 3.0)), min_size=1, max_size=5)


@given(MODULES, st.floats(0.0, 1.2))
def test_an_even_allocation_holds_the_budget(modules: list[Module], share: float) -> None:
    budget = share * sum(each.levels[0].cost for each in modules)
    found = allocate_uniform(modules, budget)
    assert sum(level.cost for level in found) <= budget * (1 + 1e-9) + 1e-12
    assert all(level in each.levels for level, each in zip(found, modules, strict=True))
    if share >= 1.0:
        assert all(level.kept == each.levels[0].kept for level, each in zip(found, modules, strict=True))


@given(MODULES, st.floats(0.01, 0.99))
def test_an_even_allocation_keeps_about_one_share_everywhere(modules: list[Module], share: float) -> None:
    budget = share * sum(each.levels[0].cost for each in modules)
    found = allocate_uniform(modules, budget)
    pairs = [(level.kept, each.levels[0].kept) for level, each in zip(found, modules, strict=True)]
    lowest = max((kept - 0.5) / whole for kept, whole in pairs)
    highest = min((kept + 0.5) / whole for kept, whole in pairs)
    assert lowest <= highest + 1e-9


def test_an_even_allocation_is_the_largest_that_fits() -> None:
    modules = [module_of(8, 1.0, 2), module_of(4, 2.0)]
    for budget, kept in ((16.0, (8, 4)), (15.9, (6, 3)), (12.0, (6, 3)), (8.0, (4, 2)), (3.9, (0, 0))):
        assert tuple(level.kept for level in allocate_uniform(modules, budget)) == kept


def test_an_even_allocation_is_never_better_than_the_best() -> None:
    rng = np.random.default_rng(0)
    modules = [
        Module(str(place), tuple(Level(8 - at, 8.0 - at, float(error)) for at, error in
                                 enumerate(np.sort(rng.exponential(size=9)))))
        for place in range(4)
    ]  # fmt: skip
    for budget in (28.0, 20.0, 12.0):
        even, best = allocate_uniform(modules, budget), allocate(modules, budget)
        assert sum(level.error for level in best) <= sum(level.error for level in even)


def test_an_even_allocation_out_of_reach() -> None:
    modules = [Module("a", (Level(4, 3.0, 0.0), Level(2, 2.0, 1.0)))]
    with pytest.raises(UsageError, match="a budget of 1 is out of reach"):
        allocate_uniform(modules, 1.0)
