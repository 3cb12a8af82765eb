"""Turns are fair, ratios are of medians, and their interval is drawn over turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler import latency
from compiler.latency import fitting_shapes, full_feeds, interleave, median_ms, speedup


class Clockwork:
    """A backend on a clock that only it moves."""

    name = "clockwork"
    version = "0"
    output_names = ("logits",)

    def __init__(self, clock: list[float], seconds: float, inputs: Sequence[str] = ("input_ids",)) -> None:
        self.input_names = tuple(inputs)
        self.runs = 0
        self._clock = clock
        self._seconds = seconds

    def run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        del outputs
        assert tuple(feeds) == self.input_names
        self.runs += 1
        self._clock[0] += self._seconds * (10 if self.runs % 4 == 1 else 1)
        return {}

    def close(self) -> None:
        """Nothing."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(latency.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(latency.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_the_first_run_of_a_turn_is_not_measured(clock: list[float]) -> None:
    backends = {
        "slow": Clockwork(clock, 0.2),
        "fast": Clockwork(clock, 0.05, ("input_ids", "attention_mask")),
    }
    advanced: list[int] = []
    times = interleave(backends, full_feeds(50, 1, 4), turns=6, advance=advanced.append)
    assert {name: median_ms(each) for name, each in times.items()} == pytest.approx({"slow": 200, "fast": 50})
    assert [len(each) for each in times.values()] == [6, 6]
    assert [each.runs for each in backends.values()] == [24, 24]
    assert advanced == [1] * 6


def test_time_that_is_up_ends_the_turns(clock: list[float]) -> None:
    times = interleave({"one": Clockwork(clock, 1.0)}, full_feeds(50, 1, 4), turns=50, seconds=0.1)
    assert len(times["one"]) == 5


def test_speedup_of_constant_times() -> None:
    found = speedup(np.full(9, 30.0), np.full(9, 10.0))
    assert (found.value, found.low, found.high) == (3.0, 3.0, 3.0)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_speedup_scales_and_its_interval_holds_it(seed: int, factor: float) -> None:
    times = np.random.default_rng(seed).lognormal(size=15)
    same = speedup(times * factor, times)
    assert (same.value, same.low, same.high) == pytest.approx((factor, factor, factor))
    other = speedup(np.random.default_rng(seed + 1).lognormal(size=15), times)
    assert other.low <= other.value <= other.high


def test_feeds_are_full_and_of_the_vocabulary() -> None:
    feeds = full_feeds(40, 3, 7)
    assert all(each.shape == (3, 7) and each.dtype == np.int64 for each in feeds.values())
    assert feeds["attention_mask"].all()
    assert not feeds["token_type_ids"].any()
    assert 5 <= feeds["input_ids"].min() <= feeds["input_ids"].max() < 40
    assert full_feeds(1, 2, 2)["input_ids"].max() == 0


def test_shapes_are_cut_to_the_model() -> None:
    assert fitting_shapes(512) == [(1, 32), (1, 128), (8, 128)]
    assert fitting_shapes(20) == [(1, 20), (8, 20)]
