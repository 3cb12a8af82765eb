"""Steps in proportion to work, and what is left of them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.cli.bars import clock
from compiler.cli.pace import KNOWN, Pace
from compiler.latency import share_done
from compiler.progress import Clock, by_length, in_turn, spread
from tests.support.compiling import Recorder

WORKS = st.lists(st.floats(0.0, 1e12), min_size=1, max_size=40).filter(lambda works: sum(works) > 0)


@given(works=WORKS, steps=st.integers(1, 1000))
def test_steps_follow_the_work(works: list[float], steps: int) -> None:
    told: list[int] = []
    report = spread(told.append, steps, sum(works))
    done = 0.0
    for work in works:
        report(work)
        done += work
        assert abs(sum(told) - steps * done / sum(works)) <= 0.5 + 1e-6 * steps
    assert sum(told) == steps
    assert 0 not in told


def test_no_work_is_done_at_once() -> None:
    told: list[int] = []
    spread(told.append, 7, 0.0)(0.0)
    assert told == [7]


def test_pieces_are_told_in_turn() -> None:
    told: list[float] = []
    advance = in_turn(told.append, [1.0, 5.0, 2.0])
    advance(1)
    advance(2)
    advance(1)
    assert told == [1.0, 5.0, 2.0, 0.0], "what nobody counted is no work"


def test_long_texts_are_more_steps_than_short_ones() -> None:
    items = ["a" * 32, "b" * 392, ("c" * 100, "d" * 92)]
    told: list[int] = []
    report = by_length(told.append, [*items, *["e" * 32] * 7])
    report(1, 10)
    assert sum(told) == round(10 * 100 / (100 + 50 + 8 * 10)), "the longest is run first"
    report(2, 10)
    assert sum(told) == round(10 * 150 / 230)
    report(10, 10)
    assert sum(told) == 10


def test_no_more_of_a_text_counts_than_is_read() -> None:
    told: list[int] = []
    report = by_length(told.append, ["a" * 100_000, *["b" * 120] * 4], longest=32)
    report(1, 5)
    assert told == [1]


@given(turns=st.integers(5, 60), seconds=st.floats(0.1, 60.0), each=st.floats(0.01, 30.0))
def test_turns_are_over_when_made_or_out_of_time(turns: int, seconds: float, each: float) -> None:
    shares = [share_done(turn, turns, turn * each, seconds) for turn in range(1, turns + 1)]
    assert shares == sorted(shares)
    last = next(turn for turn, share in enumerate(shares, start=1) if share >= 1.0)
    assert last == min(turns, max(5, math.ceil(seconds / each))) or math.isclose(last * each, seconds)
    # A steady pace is seen from the first turn on.
    assert shares[0] == pytest.approx(1 / last, rel=0.5)


def test_without_a_limit_each_turn_is_a_step() -> None:
    assert [share_done(turn, 4, 1e9, None) for turn in range(1, 5)] == [0.25, 0.5, 0.75, 1.0]


def test_the_time_left_of_steps_of_one_size() -> None:
    pace = Pace(10, begin=100.0)
    assert pace.left(101.0) is None
    pace.advance(1, 104.0)
    assert pace.left(104.0) == pytest.approx(36.0)
    assert pace.left(106.0) == pytest.approx(34.0), "it falls between two steps"
    assert pace.left(120.0) == pytest.approx(32.0), "but not below what follows the step"
    pace.advance(4, 120.0)
    assert pace.left(120.0) == pytest.approx(20.0)
    pace.advance(5, 140.0)
    assert pace.left(150.0) == 0.0


@given(total=st.integers(1, 1000), rate=st.floats(0.01, 100.0))
def test_a_steady_pace_is_told_rightly(total: int, rate: float) -> None:
    pace = Pace(total, begin=5.0)
    for step in range(1, total + 1):
        now = 5.0 + step * rate
        pace.advance(1, now)
        left = pace.left(now)
        if step >= KNOWN * total:
            assert left == pytest.approx((total - step) * rate)
        else:
            assert left is None, "too early to know"


def test_nobody_knows_what_is_left_where_other_parts_follow() -> None:
    pace = Pace(4, begin=0.0, last=False)
    pace.advance(2, 1.0)
    assert pace.left(1.0) is None
    assert Pace(None, begin=0.0).left(9.0) is None


def test_the_parts_of_a_stage_are_told() -> None:
    progress = Recorder()
    with Clock(progress).stage("timing") as steps:
        steps.expect(3, last=False)
        steps(3)
        steps.expect(5)
        steps(2)
        steps(3)
    assert progress.started == progress.finished == ["timing"]
    assert progress.totals == progress.steps == {"timing": 8}


def test_a_warning_is_given_once() -> None:
    progress = Recorder()
    told = Clock(progress).progress
    for message in ("one", "two", "one"):
        told.warn(message)
    assert progress.warnings == ["one", "two"] == told.warnings


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0:00"), (59.7, "1:00"), (61, "1:01"), (3600, "1:00:00"), (36061, "10:01:01")]
)
def test_times_are_written_as_clocks_do(seconds: float, text: str) -> None:
    assert clock(seconds) == text
