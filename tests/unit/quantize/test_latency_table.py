"""What INT8 saves, from interleaved times, and the cache that makes two compiles agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from calibration.cache import ArrayCache
from compiler.frontend.export import TracedModel
from compiler.latency import full_feeds
from compiler.latency_table import BASE, LEAST_MS, TURNS, measure_table, savings
from compiler.progress import Clock
from compiler.quantize.plan import QuantPlan
from compiler.quantize.sensitivity import groups_of
from targets.runtime.backends import open_backend
from targets.runtime.backends.base import Backend
from tests.support.compiling import Recorder
from tests.support.lowered import FLOAT_PRODUCTS, LOWER, make_case


def test_a_saving_is_shared_among_the_groups_of_a_kind() -> None:
    base = np.linspace(9.0, 11.0, 15)
    found = savings({BASE: base, "ffn": base + 3.0}, {"ffn": 6})
    assert found == {"ffn": pytest.approx(0.5)}


def test_turns_are_paired() -> None:
    base = np.random.default_rng(0).uniform(5.0, 50.0, 15)
    assert savings({BASE: base, "ffn": base + 0.6}, {"ffn": 2})["ffn"] == pytest.approx(0.3)


def test_a_saving_lost_in_noise_costs_what_the_noise_hides() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(10.0, 1.0, 15)
    slower = savings({BASE: base, "head": base - rng.uniform(0.5, 2.0, 15)}, {"head": 1})["head"]
    assert 0.05 < slower < 1.0
    assert savings({BASE: base, "head": base - 1.0}, {"head": 1})["head"] == LEAST_MS


def test_the_table_of_a_model_is_measured_once(traced: Callable[..., TracedModel]) -> None:
    case = make_case(traced)
    quantized = case.quantized(FLOAT_PRODUCTS)
    groups = groups_of(quantized.model, quantized.plan)
    opened: list[int] = []

    def load(plan: QuantPlan) -> Backend:
        artifact = LOWER["onnxruntime"](quantized.model, plan, "int8")
        opened.append(len(artifact.census.placements))
        return open_backend("onnxruntime", artifact.files[artifact.main], threads=1)

    progress = Recorder()
    feeds = full_feeds(6, 1, 16)
    with Clock(progress).stage("timing") as steps:
        table = measure_table(quantized.plan, groups, load, feeds, threads=1, steps=steps, cache=ArrayCache())
    kinds = {each.kind for each in groups}
    assert set(table.saved_ms) == kinds
    assert all(each >= LEAST_MS for each in table.saved_ms.values())
    assert table.label == "1x16"
    assert table.runtime == "onnxruntime"
    assert len(opened) == len(kinds) + 1
    assert opened[0] == max(opened) == sum(len(each.names) for each in groups)
    assert progress.steps == progress.totals == {"timing": len(kinds) + TURNS}
    again = measure_table(quantized.plan, groups, load, feeds, threads=1, cache=ArrayCache())
    assert again == table
    assert len(opened) == len(kinds) + 2
