"""Latency tables from run times that are known, and estimates."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.frontend.export import TracedModel
from compiler.latency import Times
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.progress import Clock, Steps
from compiler.prune import latency
from compiler.prune.latency import (
    TURNS,
    Curve,
    Latency,
    estimate,
    kind_of,
    levels_to_time,
    measure,
    rising,
)
from compiler.prune.modules import PrunableModule, find_modules
from tests.support.compiling import Recorder
from tests.support.graphs import encoder

Traced = Callable[..., TracedModel]
Cost = Callable[[PrunableModule, int], float]
VALUES = st.lists(st.floats(-100, 100), min_size=1, max_size=12)
FEEDS = {"input_ids": np.zeros((2, 16), np.int64)}
FIXED = 1.5
ALIGN = 8


@dataclass
class FakeBackend:
    """A graph that is not run, and whether it was closed."""

    graph: ir.Model
    name: str = "fake"
    version: str = "1"
    input_names: tuple[str, ...] = ("input_ids",)
    output_names: tuple[str, ...] = ("logits",)
    closed: bool = False

    def run(self, feeds: Mapping[str, Any], outputs: Sequence[str] | None = None) -> dict[str, Any]:
        raise AssertionError(f"{self.name} was run on {feeds} for {outputs}")

    def close(self) -> None:
        self.closed = True


@dataclass
class Machine:
    """Loads every graph, and knows its milliseconds: the fixed ones and those of the modules left in it.

    Attributes:
        modules: of the whole graph.
        cost: of a module with so many groups left.
        drift: of every turn, which all graphs share.
    """

    modules: tuple[PrunableModule, ...]
    cost: Cost
    drift: Sequence[float] = (0.0,) * 7
    loaded: list[FakeBackend] = field(default_factory=list)

    def load(self, graph: ir.Model) -> FakeBackend:
        self.loaded.append(FakeBackend(graph))
        return self.loaded[-1]

    def interleave(self, backends: Mapping[str, FakeBackend], feeds: Any, **_: Any) -> Times:
        assert feeds is FEEDS
        assert not any(each.closed for each in backends.values())
        return {name: self.ms(each.graph) + np.array(self.drift) for name, each in backends.items()}

    def ms(self, graph: ir.Model) -> float:
        left = {each.name: each.groups for each in find_modules(graph).modules}
        return FIXED + sum(self.cost(each, left.get(each.name, 0)) for each in self.modules)


def bent(module: PrunableModule, kept: int) -> float:
    """Cheap to a half and dear from there on; heads cost more, and one row next to nothing."""
    unit = 0.01 if module.single else 0.5 if module.kind == "heads" else 0.0625
    return unit * (kept + 2 * max(0, kept - module.groups // 2))


def passed(traced: Traced, task: str, **options: Any) -> ir.Model:
    model = traced("bert", task, **options).model
    PassManager(encoder_passes(fuse_qkv=False)).run(model)
    return model


def measured(
    monkeypatch: pytest.MonkeyPatch,
    model: ir.Model,
    cost: Cost = bent,
    steps: Steps | None = None,
    drift: Sequence[float] = (0.0,) * 7,
) -> tuple[Latency, Machine]:
    machine = Machine(find_modules(model).modules, cost, drift)
    monkeypatch.setattr(latency, "interleave", machine.interleave)
    return measure(model, machine.load, FEEDS, precision="int8", align=ALIGN, steps=steps), machine


def nearest_rising(values: Sequence[float]) -> list[float]:
    """By trying every way to cut a list into runs of one mean each."""
    best: tuple[float, list[float]] = (np.inf, [])
    for count in range(len(values)):
        for cuts in combinations(range(1, len(values)), count):
            runs = np.split(np.array(values), cuts)
            found = [float(each.mean()) for each in runs for _ in each]
            if all(a <= b for a, b in pairwise(found)):
                best = min(best, (float(np.sum((np.array(values) - found) ** 2)), found))
    return best[1]


@given(VALUES)
def test_rising_never_falls_and_keeps_the_mean(values: list[float]) -> None:
    found = rising(np.array(values))
    assert found.shape == (len(values),)
    assert np.all(np.diff(found) >= 0)
    assert found.mean() == pytest.approx(np.mean(values), abs=1e-9)
    np.testing.assert_array_equal(rising(found), found)


@given(VALUES)
def test_what_rises_already_stays(values: list[float]) -> None:
    np.testing.assert_array_equal(rising(np.sort(values)), np.sort(values))


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=7))
def test_rising_is_the_nearest_in_squares(values: list[int]) -> None:
    np.testing.assert_allclose(rising(np.array(values, float)), nearest_rising(values), atol=1e-9)


def test_what_falls_is_pooled() -> None:
    np.testing.assert_allclose(rising(np.array([1.0, 5.0, 3.0, 1.0, 9.0])), [1.0, 3.0, 3.0, 3.0, 9.0])


@given(st.integers(0, 8))
def test_a_curve_is_straight_between_its_levels(kept: int) -> None:
    curve = Curve((0, 4, 8), (0.0, 1.0, 5.0))
    assert curve.at(kept) == pytest.approx(kept / 4 if kept <= 4 else kept - 3)


@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_the_costs_of_a_known_machine_are_found(
    traced: Traced, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    model = passed(traced, task)
    found, machine = measured(monkeypatch, model)
    assert found.fixed == pytest.approx(FIXED, abs=1e-4)
    assert set(found.curves) == {kind_of(each) for each in machine.modules}
    for module in machine.modules:
        curve = found.curves[kind_of(module)]
        assert curve.kept == (*sorted(levels_to_time(module, ALIGN)), module.groups)
        np.testing.assert_allclose(curve.ms, [bent(module, each) for each in curve.kept], atol=1e-4)
        assert found.of(module, module.groups) == curve.ms[-1]
        assert found.of(module, 0) == 0.0
    whole = found.fixed + sum(found.of(each, each.groups) for each in machine.modules)
    assert whole == pytest.approx(machine.ms(model), abs=1e-4)


def test_every_graph_that_is_timed_has_all_modules_of_one_kind_at_one_level(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = passed(traced, "token-classification")
    _, machine = measured(monkeypatch, model)
    whole = {each.name: each.groups for each in machine.modules}
    sizes = []
    for each in machine.loaded:
        left = dict.fromkeys(whole, 0) | {m.name: m.groups for m in find_modules(each.graph).modules}
        sizes.append(tuple(left[name] for name in whole))
    assert sizes[0] == (4, 64, 4, 64)
    assert set(sizes[1:]) == {
        *((heads, 64, heads, 64) for heads in (2, 1, 0)), *((4, ffn, 4, ffn) for ffn in (32, 16, 0)),
    }  # fmt: skip
    assert len(sizes) == 7


def test_every_backend_is_closed_also_where_timing_fails(
    traced: Traced, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = passed(traced, "text-classification")
    _, machine = measured(monkeypatch, model)
    assert all(each.closed for each in machine.loaded)

    def fail(*_: Any, **__: Any) -> Times:
        raise RuntimeError("no clock")

    machine.loaded.clear()
    monkeypatch.setattr(latency, "interleave", fail)
    with pytest.raises(RuntimeError, match="no clock"):
        measure(model, machine.load, FEEDS, precision="int8", align=ALIGN)
    assert machine.loaded
    assert all(each.closed for each in machine.loaded)


def test_the_steps_are_those_announced(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    model = passed(traced, "text-classification")
    progress = Recorder()
    with Clock(progress).stage("timing") as steps:
        _, machine = measured(monkeypatch, model, steps=steps)
    assert progress.totals["timing"] == len(machine.loaded) + TURNS
    assert progress.steps["timing"] == len(machine.loaded), "the turns tell theirs themselves"


def test_what_slows_a_turn_slows_all(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    model = passed(traced, "token-classification")
    calm, _ = measured(monkeypatch, model)
    rough, _ = measured(monkeypatch, model, drift=(0.0, 9.0, 0.0, 0.0, 40.0, 0.0, 0.0))
    assert rough == calm


def test_a_curve_never_falls_nor_is_it_below_zero(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    model = passed(traced, "token-classification")

    def odd(module: PrunableModule, kept: int) -> float:
        return {0: 0.5, 1: 0.2, 2: 0.9, 4: 0.7}[kept] if module.kind == "heads" else -0.001 * kept

    found, machine = measured(monkeypatch, model, odd)
    heads, ffn = (found.curves[kind_of(each)] for each in machine.modules[:2])
    assert heads.ms[0] == 0.0
    assert list(heads.ms) == sorted(heads.ms)
    assert heads.ms[-1] == heads.ms[-2] == pytest.approx(0.3, abs=1e-4)
    assert ffn.ms == (0.0,) * 4


def test_what_was_measured_is_recorded(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _ = measured(monkeypatch, passed(traced, "text-classification"))
    assert (found.source, found.runtime, found.precision, found.shape) == (
        "measured",
        "fake",
        "int8",
        (2, 16),
    )
    document = json.loads(json.dumps(found.to_json()))
    assert Latency.from_json(document) == found
    assert document["fixed_ms"] == found.fixed
    assert document["shape"] == [2, 16]


def test_kinds_tell_one_row_from_all(traced: Traced) -> None:
    kinds = [kind_of(each) for each in find_modules(passed(traced, "text-classification")).modules]
    assert kinds == [
        "heads 4x8 of 32", "ffn 64x1 of 32", "heads 4x8 of 32, one row", "ffn 64x1 of 32, one row",
    ]  # fmt: skip


def module_of(kind: str, task: str, traced: Traced, **options: Any) -> PrunableModule:
    modules = find_modules(passed(traced, task, **options)).modules
    return [each for each in modules if each.kind == kind][-1]


@pytest.mark.parametrize(
    ("kind", "align", "levels"),
    [
        ("heads", 64, [2, 1, 0]),
        ("ffn", 8, [32, 16, 0]),
        ("ffn", 12, [24, 12, 0]),
        ("ffn", 32, [32, 0]),
        ("ffn", 64, [0]),
        ("ffn", 100, [0]),
    ],
)
def test_levels_to_time(traced: Traced, kind: str, align: int, levels: list[int]) -> None:
    assert levels_to_time(module_of(kind, "token-classification", traced), align) == levels


@pytest.mark.parametrize("kind", ["heads", "ffn"])
def test_of_one_row_only_the_absence_is_timed(traced: Traced, kind: str) -> None:
    assert levels_to_time(module_of(kind, "text-classification", traced), 1) == [0]


def estimated(model: ir.Model, shape: tuple[int, int] = (1, 128), weight_bytes: float = 1.0) -> Latency:
    return estimate(model, runtime="fake", precision="int8", shape=shape, weight_bytes=weight_bytes)


@pytest.mark.parametrize("task", ["text-classification", "token-classification"])
def test_an_estimate_is_positive_and_rises_in_proportion(traced: Traced, task: str) -> None:
    model = passed(traced, task)
    found = estimated(model)
    assert (found.source, found.shape) == ("estimated", (1, 128))
    assert found.fixed > 0
    for module in find_modules(model).modules:
        costs = [found.of(module, kept) for kept in range(module.groups + 1)]
        assert costs[0] == 0.0
        assert np.all(np.diff(costs) > 0)
        np.testing.assert_allclose(costs, np.linspace(0, costs[-1], len(costs)), atol=1e-9)
    assert Latency.from_json(found.to_json()) == found


def test_an_estimate_adds_a_tenth_for_what_is_in_no_module(traced: Traced) -> None:
    model = passed(traced, "token-classification")
    found = estimated(model)
    inside = sum(found.of(each, each.groups) for each in find_modules(model).modules)
    assert found.fixed == pytest.approx(0.1 * inside, abs=1e-5)


def test_an_estimate_is_of_flops_where_there_are_many_tokens_and_of_bytes_where_there_are_few() -> None:
    model = encoder(layers=1, head="tokens")
    ffn = find_modules(model).modules[1]

    def cost(shape: tuple[int, int], weight_bytes: float) -> float:
        return estimated(model, shape, weight_bytes).of(ffn, ffn.groups)

    assert cost((1, 256), 1.0) == cost((1, 256), 4.0)
    assert cost((2, 256), 1.0) == pytest.approx(2 * cost((1, 256), 1.0), abs=2e-5)
    assert cost((1, 1), 4.0) == pytest.approx(4 * cost((1, 1), 1.0), abs=5e-5)
    assert cost((1, 2), 4.0) == cost((1, 1), 4.0)
    assert cost((1, 256), 1.0) == pytest.approx(256 * 12 * 2 * (8 + 8) / 1e6, abs=1e-5)


def test_one_row_costs_less_than_all(traced: Traced) -> None:
    model = passed(traced, "text-classification")
    found = estimated(model)
    heads, ffn, last_heads, last_ffn = find_modules(model).modules
    assert found.of(last_heads, 4) < found.of(heads, 4)
    assert found.of(last_ffn, 64) < found.of(ffn, 64)


def test_rising_of_an_array_leaves_it() -> None:
    values: NDArray[np.float64] = np.array([3.0, 1.0])
    rising(values)
    np.testing.assert_array_equal(values, [3.0, 1.0])
