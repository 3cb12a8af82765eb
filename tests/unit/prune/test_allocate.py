"""Allocation against trying everything."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.prune.allocate import Level, Module, allocate
from targets.errors import UsageError

LEVELS = st.lists(st.builds(Level, st.just(0), st.integers(0, 20), st.floats(0, 10)), min_size=1, max_size=4)
MODULES = st.lists(st.builds(Module, st.just("m"), LEVELS.map(tuple)), min_size=1, max_size=4)


@given(MODULES, st.integers(1, 60))
def test_the_best_that_fits(modules: list[Module], budget: int) -> None:
    fitting = [
        sum(level.error for level in choice)
        for choice in product(*(each.levels for each in modules))
        if sum(level.cost for level in choice) <= budget
    ]
    if not fitting:
        with pytest.raises(UsageError, match="out of reach"):
            allocate(modules, budget)
        return
    found = allocate(modules, budget, cells=budget * 10)
    assert sum(level.cost for level in found) <= budget
    assert sum(level.error for level in found) == pytest.approx(min(fitting))
    assert all(level in each.levels for level, each in zip(found, modules, strict=True))


@given(st.lists(st.floats(0.01, 5.0), min_size=1, max_size=5), st.floats(0.2, 1.0))
def test_a_budget_holds_for_costs_of_any_size(costs: list[float], share: float) -> None:
    modules = [
        Module(f"layer{place}", (Level(2, cost, 0.0), Level(1, cost / 2, 1.0), Level(0, 0.0, 5.0)))
        for place, cost in enumerate(costs)
    ]
    budget = share * sum(costs)
    assert sum(level.cost for level in allocate(modules, budget, cells=50)) <= budget * (1 + 1e-9)


def test_everything_stays_where_everything_fits() -> None:
    modules = [Module("a", (Level(4, 0.1, 0.0), Level(2, 0.05, 1.0)))] * 3
    assert all(level.kept == 4 for level in allocate(modules, sum([0.1] * 3)))


def test_what_costs_nothing_fits_no_budget() -> None:
    modules = [Module("a", (Level(4, 1.0, 0.0), Level(0, 0.0, 1.0)))]
    assert allocate(modules, 0.0)[0].kept == 0


def test_the_error_names_what_can_be_reached() -> None:
    modules = [Module("a", (Level(4, 3.0, 0.0), Level(2, 2.0, 1.0)))]
    with pytest.raises(UsageError, match=r"with the least of every module it is 2$"):
        allocate(modules, 1.0)
