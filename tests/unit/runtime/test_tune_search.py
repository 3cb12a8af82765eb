"""The search finds the known best, and takes no noise for a gain. No clock but a made one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from targets.errors import IncompatibleError
from targets.runtime.settings import DYNAMIC, LENGTHS, MAX_SHAPES, Objective, RunSettings
from targets.runtime.tune.candidates import Room, multiples, room_for_shapes, stages_of
from targets.runtime.tune.search import (
    MAX_OPEN,
    MAX_ROUNDS,
    MIN_ROUNDS,
    Found,
    Limits,
    Search,
    Stage,
    heat,
    pick,
)
from targets.runtime.tune.stats import ratio, typical

Cost = Callable[[RunSettings], float]
LENGTHS_SEEN = tuple(range(5, 61)) * 3


@dataclass
class World:
    """A machine with a clock of its own, on which settings have a known cost and the given noise."""

    cost: Cost
    noise: float = 0.0
    seed: int = 0
    opening: float = 0.0
    now: float = 0.0
    opened: int = 0
    most_open: int = 0
    rounds: dict[RunSettings, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)

    def clock(self) -> float:
        return self.now

    def open(self, settings: RunSettings) -> Runner:
        self.now += self.opening
        if math.isinf(self.cost(settings)):
            raise IncompatibleError("it does not run so")
        self.opened += 1
        self.most_open = max(self.most_open, self.opened)
        return Runner(self, settings)


@dataclass
class Runner:
    world: World
    settings: RunSettings
    closed: bool = False

    def round(self) -> list[float]:
        assert not self.closed
        world = self.world
        world.rounds[self.settings] = world.rounds.get(self.settings, 0) + 1
        # Some rounds are disturbed by something else on the machine, much and for all alike.
        shock = 3.0 if world.rng.random() < 0.05 else 1.0
        units = world.cost(self.settings) * (1.0 + world.noise * world.rng.normal(size=4)) * shock
        seconds = [max(1e-6, float(unit)) for unit in units]
        world.now += sum(seconds)
        return seconds

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        self.world.opened -= 1


def search(world: World, stages: list[Stage], seconds: float = 60.0, seed: int = 0) -> Found:
    return Search(world.open, world.clock, seconds, seed).run(RunSettings(), stages)


def room(backend: str = "openvino", threads: int = 16) -> Room:
    return Room(backend, threads, LENGTHS_SEEN, 16)


def latency_cost(settings: RunSettings) -> float:
    threads = settings.threads or 16
    padding = {0: 1.3, len(LENGTHS): 1.0}.get(len(settings.shapes.lengths), 0.8)
    return 0.01 * (1.0 + 0.1 * abs(threads - 4)) * padding


def throughput_cost(settings: RunSettings) -> float:
    alone = 2.0 if settings.max_batch == 1 else 1.0
    return (
        0.02
        * alone
        * (1.0 + abs(settings.streams - 8) / 16)
        * (1.0 + abs(settings.max_tokens - 512) / 2048)
        * (1.0 + abs(settings.run_tokens - 32) / 64)
    )


@pytest.mark.parametrize("seed", range(3))
def test_the_best_latency_is_found(seed: int) -> None:
    world = World(latency_cost, noise=0.03, seed=seed, opening=0.3)
    found = search(world, stages_of("latency", room()), seed=seed)
    assert found.settings.threads == 4
    assert latency_cost(found.settings) == pytest.approx(0.008)
    assert found.final.outcome == "won"
    assert found.final.ratio is not None
    assert found.final.ratio.high < 1.0
    true = latency_cost(found.settings) / latency_cost(RunSettings())
    assert found.final.ratio.value == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_the_best_throughput_is_found(seed: int) -> None:
    world = World(throughput_cost, noise=0.03, seed=seed)
    found = search(world, stages_of("throughput", room()), seed=seed)
    assert found.settings == RunSettings(streams=8, max_tokens=512, run_tokens=32)


@pytest.mark.parametrize("objective", ["latency", "throughput"])
@pytest.mark.parametrize("seed", range(8))
def test_noise_is_no_gain(objective: Objective, seed: int) -> None:
    world = World(lambda _: 0.01, noise=0.3, seed=seed)
    found = search(world, stages_of(objective, room()), seed=seed)
    assert found.settings == RunSettings()
    assert found.final.outcome == "reference"


def test_a_stroke_of_luck_does_not_survive_the_last_comparison() -> None:
    lucky = RunSettings(streams=2)
    world = World(lambda _: 0.01)
    world.cost = lambda settings: 0.005 if settings == lucky and world.rounds.get(lucky, 0) < 9 else 0.01
    stage = Stage("streams", lambda at: [at, lucky])
    found = Search(world.open, world.clock, 1.0).run(RunSettings(), [stage])
    assert [each.outcome for each in found.measured] == ["reference", "won", "reference", "lost"]
    assert found.settings == RunSettings()


def test_of_equals_the_simplest_wins() -> None:
    rng = np.random.default_rng(1)

    def times(cost: float) -> np.ndarray:
        return cost * (1.0 + 0.05 * rng.normal(size=(20, 4)))

    rows = {"default": times(1.0), "simple": times(0.8), "complex": times(0.798), "slow": times(1.1)}
    assert pick(rows, "default") == "simple"
    assert pick({**rows, "best": times(0.6)}, "default") == "best"
    assert pick({"default": rows["default"], "slow": rows["slow"]}, "default") == "default"


def test_too_few_rounds_decide_nothing() -> None:
    rows = {"default": np.ones((MIN_ROUNDS - 1, 1)), "fast": np.full((MIN_ROUNDS - 1, 1), 0.1)}
    assert pick(rows, "default") == "default"
    rows = {"default": np.ones((MIN_ROUNDS, 1)), "fast": np.full((MIN_ROUNDS, 1), 0.1)}
    assert pick(rows, "default") == "fast"


@pytest.mark.parametrize("objective", ["latency", "throughput"])
def test_sessions_are_closed_and_few_are_open(objective: Objective) -> None:
    world = World(throughput_cost, noise=0.1)
    search(world, stages_of(objective, room(threads=64)))
    assert world.opened == 0
    assert 2 <= world.most_open <= MAX_OPEN


def test_time_is_bounded() -> None:
    world = World(throughput_cost, noise=0.02, opening=0.5)
    search(world, stages_of("throughput", room()), seconds=40.0)
    assert 10.0 < world.now < 50.0 + 3.0


def test_a_stage_without_time_decides_nothing() -> None:
    slow = World(lambda settings: 1.0 / settings.streams)
    found = search(slow, stages_of("throughput", room()), seconds=10.0)
    assert found.settings == RunSettings()
    assert {each.stage for each in found.measured} == {"streams"}
    assert {each.outcome for each in found.measured} == {"reference", "undecided"}
    assert slow.opened == 0


def test_the_last_comparison_has_its_time() -> None:
    world = World(lambda settings: 0.05 / min(2, settings.streams), noise=0.02)
    found = search(world, stages_of("throughput", room(threads=2)), seconds=12.0)
    assert found.settings == RunSettings(streams=2)
    assert found.final.rounds >= MIN_ROUNDS
    assert world.now < 16.0


def test_what_does_not_open_is_left_out() -> None:
    world = World(lambda settings: math.inf if settings.streams > 2 else 0.01 / settings.streams)
    found = search(world, stages_of("throughput", room()))
    assert found.settings.streams == 2
    failed = [each.settings.streams for each in found.measured if each.outcome == "failed"]
    assert failed == [8, 16]
    broken = World(lambda _: math.inf)
    with pytest.raises(IncompatibleError):
        search(broken, stages_of("throughput", room()))
    assert broken.opened == 0


def test_everything_is_closed_after_an_error() -> None:
    def cost(settings: RunSettings) -> float:
        if world.rounds.get(settings, 0) > 2:
            raise KeyboardInterrupt
        return 0.01

    world = World(lambda _: 0.01)
    world.cost = cost
    with pytest.raises(KeyboardInterrupt):
        search(world, stages_of("throughput", room()))
    assert world.opened == 0


def test_the_slower_half_goes_first() -> None:
    costs = {"reference": 1.0, "a": 2.0, "b": 0.9, "c": 3.0, "d": 0.8, "e": 4.0}
    world = World(lambda _: 0.0)

    @dataclass
    class Fixed:
        seconds: float

        def round(self) -> list[float]:
            world.now += self.seconds
            return [self.seconds]

        def close(self) -> None:
            raise AssertionError("a heat closes nothing itself")

    dropped: list[str] = []
    runners = {key: Fixed(cost) for key, cost in costs.items()}
    times = heat(runners, "reference", world.clock, Limits(70.0, 1e9), drop=dropped.append)
    assert dropped == ["c", "e", "a"]
    rounds = {key: len(rows) for key, rows in times.items()}
    assert rounds == {"c": 4, "e": 4, "a": 8, "b": 10, "d": 10, "reference": 10}
    forever = heat({"one": Fixed(0.0)}, "one", world.clock, Limits(1e9, 1e9))
    assert forever["one"].shape == (MAX_ROUNDS, 1)


def test_a_ratio_pairs_the_rounds() -> None:
    rng = np.random.default_rng(0)
    drift = np.exp(rng.normal(0.0, 0.5, (30, 1)))
    reference = drift * np.array([[1.0, 2.0, 3.0]])
    found = ratio(0.97 * reference, reference)
    assert found.value == pytest.approx(0.97)
    assert found.low == pytest.approx(0.97)
    assert found.faster
    unpaired = ratio(0.97 * rng.permutation(reference), reference)
    assert unpaired.low < 0.9
    assert not unpaired.faster
    assert typical(np.array([[1.0, 5.0], [2.0, 6.0], [90.0, 7.0]])) == 8.0


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        reference = 1.0 + 0.1 * rng.normal(size=(20, 8))
        found = ratio(1.0 + 0.1 * rng.normal(size=(20, 8)), reference, seed=seed)
        covered += found.low <= 1.0 <= found.high
    assert 176 <= covered <= 200


def test_candidates_are_within_bounds() -> None:
    for threads in (1, 2, 3, 8, 64, 1024):
        for backend in ("openvino", "onnxruntime"):
            for objective in ("latency", "throughput"):
                for stage in stages_of(objective, room(backend, threads)):
                    options = stage.options(RunSettings())
                    assert 1 <= len(set(options)) <= MAX_OPEN
                    assert all(option.threads <= threads for option in options)
                    assert all(option.streams <= max(1, threads) for option in options)
    names = [stage.name for stage in stages_of("latency", room("onnxruntime"))]
    assert names == ["threads"]


def test_threads_are_settled_without_touching_the_shapes() -> None:
    stage = stages_of("latency", room())[0]
    options = stage.options(RunSettings())
    assert all(option.shapes == DYNAMIC for option in options)
    assert stage.settle(RunSettings(), options[1]) == replace(RunSettings(), threads=options[1].threads)


def test_shapes_are_those_that_most_texts_need() -> None:
    assert multiples(16, (3, 17, 33), 8).lengths == (16, 32, 48)
    few = multiples(4, (4, 4, 4, 9, 9, 30, 30, 50), 3)
    assert few.lengths == (4, 12, 32)
    assert few.kept == 3
    assert len(multiples(4, range(1, 513), 16).lengths) == 16 <= MAX_SHAPES
    assert room_for_shapes(0, 10**9) == 16
    assert room_for_shapes(256, 100 * 2**20) == 1
    assert room_for_shapes(64_000, 20 * 2**20) == 16
