"""The walk down a grid of budgets, and when a gate surely holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.auto_prune import GRID, Trial, holds_surely, tried, walk_down
from compiler.quantize.mixed import Gate
from compiler.validate import Validation

Attempt = Callable[[float], tuple[str, Validation | None]]
GATE = Gate(0.01)


def validation(
    delta: float | None = 0.0,
    ci95: tuple[float, float] | None = None,
    agreement: float | None = 1.0,
) -> Validation:
    return Validation(
        metric="accuracy", baseline=0.9, compiled=0.9, delta=delta, ci95=ci95, agreement=agreement, n=100,
        evidence="measured", status="passed", max_drop=0.01, labelled=True, metrics={},
    )  # fmt: skip


def attempts(deltas: dict[float, float | None], made: list[float] | None = None) -> Attempt:
    """An attempt of every speed-up: its loss from a table, 0 where there is none; None measures nothing."""

    def attempt(times: float) -> tuple[str, Validation | None]:
        if made is not None:
            made.append(times)
        delta = deltas.get(times, 0.0)
        return f"built {times:g}", None if delta is None else validation(delta)

    return attempt


def walked(grid: Sequence[float], deltas: dict[float, float | None], reach: float = 10.0) -> list[Trial[str]]:
    return walk_down(grid, reach, attempts(deltas), GATE)


def test_it_stops_at_the_first_that_fails() -> None:
    made: list[float] = []
    trials = walk_down((1.5, 2.0, 3.0, 4.0), 10.0, attempts({2.0: -0.5}, made), GATE)
    assert made == [1.0, 1.5, 2.0]
    assert [(each.times, each.holds) for each in trials] == [(1.0, True), (1.5, True), (2.0, False)]


def test_it_goes_to_the_end_where_all_hold() -> None:
    trials = walked(GRID, {})
    assert [each.times for each in trials] == [1.0, *GRID]
    assert all(each.holds for each in trials)


@pytest.mark.parametrize(
    ("reach", "times"), [(0.5, [1.0]), (1.49, [1.0]), (1.5, [1.0, 1.5]), (2.7, [1.0, 1.5, 2.0])]
)
def test_nothing_beyond_reach_is_tried(reach: float, times: list[float]) -> None:
    made: list[float] = []
    walk_down((1.5, 2.0, 3.0), reach, attempts({}, made), GATE)
    assert made == times


@pytest.mark.parametrize("delta", [-0.9, None])
def test_the_dense_model_stays_whatever_it_loses(delta: float | None) -> None:
    trials = walked((1.5, 2.0), {1.0: delta})
    assert [each.times for each in trials] == [1.0, 1.5, 2.0]
    assert trials[0].holds
    assert trials[0].built == "built 1"


def test_the_dense_model_is_all_that_is_left_where_the_first_fails() -> None:
    trials = walked(GRID, {GRID[0]: -1.0})
    assert [(each.times, each.holds) for each in trials] == [(1.0, True), (GRID[0], False)]
    assert trials[0].built == "built 1"


@given(st.integers(0, 10), st.integers(0, 10))
def test_what_faster_ones_have_replaced_is_dropped(count: int, failing: int) -> None:
    grid = [1.5 + place for place in range(count)]
    trials = walked(grid, dict.fromkeys(grid[failing:], -1.0), 100.0)
    holding = [each for each in trials if each.holds]
    assert len(holding) == 1 + min(count, failing)
    assert trials[0].built == "built 1"
    kept = [each.times for each in holding[1:] if each.built is not None]
    assert kept == [each.times for each in holding[1:]][-2:]
    assert all(each.built in (None, f"built {each.times:g}") for each in trials)


def test_no_more_than_three_are_built_at_a_time_beside_the_newest() -> None:
    alive: list[int] = []

    class Built:
        count = 0

        def __init__(self) -> None:
            Built.count += 1
            alive.append(Built.count)

        def __del__(self) -> None:
            Built.count -= 1

    walk_down(GRID, 10.0, lambda _: (Built(), validation()), GATE)
    assert len(alive) == len(GRID) + 1
    assert max(alive) <= 4


def test_outputs_that_are_not_finite_do_not_hold() -> None:
    assert not holds_surely(GATE, None)
    assert not walked((1.5, 2.0), {1.5: None})[-1].holds


@pytest.mark.parametrize(
    ("delta", "holds"), [(0.02, True), (0.0, True), (-0.009, True), (-0.01, True), (-0.011, False)]
)
def test_without_an_interval_the_gate_alone_decides(delta: float, holds: bool) -> None:
    assert holds_surely(GATE, validation(delta)) is holds


@pytest.mark.parametrize(
    ("delta", "half", "holds"),
    [
        (-0.005, 0.0, True),
        (-0.005, 0.0097, True),
        (-0.005, 0.0099, False),
        (0.005, 0.0291, True),
        (0.005, 0.0297, False),
        (-0.011, 0.001, False),
    ],
)
def test_with_an_interval_it_holds_by_a_standard_error(delta: float, half: float, holds: bool) -> None:
    assert holds_surely(GATE, validation(delta, (delta - half, delta + half))) is holds


def test_the_width_of_an_interval_counts_and_not_its_place() -> None:
    assert holds_surely(GATE, validation(-0.005, (-0.014, 0.005)))
    assert holds_surely(GATE, validation(-0.005, (-0.005, 0.014)))


def test_agreement_is_part_of_the_gate() -> None:
    gate = Gate(0.01, 0.95)
    assert holds_surely(gate, validation(0.0, (-0.001, 0.001), 0.95))
    assert not holds_surely(gate, validation(0.0, (-0.001, 0.001), 0.94))
    assert not holds_surely(gate, validation(0.0, None, None))


def test_a_wide_interval_ends_the_walk() -> None:
    def attempt(times: float) -> tuple[str, Validation]:
        return "built", validation(0.0, (-0.03, 0.03) if times > 1.5 else (-0.01, 0.01))

    assert [each.holds for each in walk_down((1.5, 2.0, 3.0), 10.0, attempt, GATE)] == [True, True, False]


def test_trials_are_recorded() -> None:
    trials = [
        Trial(1.0, "built", validation(0.0), True),
        Trial(1.5, None, validation(-0.123456, agreement=0.987654), False),
        Trial(2.0, "built", None, False),
    ]
    assert tried(trials) == (
        {"expected_speedup": 1.0, "delta": 0.0, "agreement": 1.0, "holds": True},
        {"expected_speedup": 1.5, "delta": -0.1235, "agreement": 0.9877, "holds": False},
        {"expected_speedup": 2.0, "delta": None, "agreement": None, "holds": False},
    )
