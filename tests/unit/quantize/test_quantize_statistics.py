from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.cache import ArrayCache
from compiler.ir.execute import Runner
from compiler.ir.linear import linears_of
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.quantize import statistics
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.quantizer import quantize_static
from compiler.quantize.statistics import ChannelRange, collect, token_rows
from targets.spec import QuantScheme
from tests.support.graphs import encoder, encoder_feeds, ramp

SCHEME = QuantScheme("u8", True, 127, "s8", "float")
Feeds = Mapping[str, NDArray[Any]]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 4), st.integers(0, 99))
def test_a_range_is_that_of_all_rows_however_they_come(sizes: list[int], channels: int, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((sum(sizes), channels)).astype(np.float32)
    parts = np.split(rows, np.cumsum(sizes)[:-1])
    found = ChannelRange.of(parts[0])
    for part in parts[1:]:
        found.update(part)
    np.testing.assert_array_equal(found.low, rows.min(axis=0))
    np.testing.assert_array_equal(found.high, rows.max(axis=0))


def test_a_range_does_not_hold_on_to_the_batch() -> None:
    rows = np.array([[1, 2], [3, 0]], np.float32)
    found = ChannelRange.of(rows)
    rows[:] = 9
    assert (found.low.tolist(), found.high.tolist()) == ([1, 0], [3, 2])
    found.update(np.array([[-1, 5]], np.float32))
    assert rows.tolist() == [[9, 9], [9, 9]]


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 99))
def test_token_rows_are_those_of_the_mask(batch: int, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 2, (batch, length)).astype(bool)
    value = rng.standard_normal((batch, length, 3)).astype(np.float32)
    rows = token_rows(value, mask)
    assert rows.shape == (mask.sum(), 3)
    np.testing.assert_array_equal(rows, [value[i, j] for i, j in np.argwhere(mask)] or np.empty((0, 3)))
    np.testing.assert_array_equal(token_rows(value[:, 0], mask), value[:, 0])


def names_of(model: ir.Model) -> list[str]:
    return sorted({str(each.input.name) for each in linears_of(model.graph)})


@pytest.fixture(scope="module")
def model() -> ir.Model:
    compiled = encoder(layers=2)
    PassManager(encoder_passes()).run(compiled)
    return compiled


@pytest.fixture(scope="module")
def batches() -> list[Feeds]:
    return [encoder_feeds(4, 9, seed) for seed in range(3)]


def junk_in_padding(feeds: Feeds, seed: int) -> Feeds:
    ids = np.random.default_rng(seed).integers(0, 20, feeds["input_ids"].shape)
    return {**feeds, "input_ids": np.where(feeds["attention_mask"] == 1, feeds["input_ids"], ids)}


def same(one: Mapping[str, ChannelRange], other: Mapping[str, ChannelRange]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name].low, other[name].low, err_msg=name)
        np.testing.assert_array_equal(one[name].high, other[name].high, err_msg=name)


def test_padding_is_never_seen(model: ir.Model, batches: list[Feeds]) -> None:
    names = names_of(model)
    clean = collect(model, names, batches, threads=1)
    assert sorted(clean) == names
    same(clean, collect(model, names, [junk_in_padding(each, 7) for each in batches], threads=1))
    touched = [{**each, "input_ids": (each["input_ids"] + 5) % 20} for each in batches]
    moved = collect(model, names, touched, threads=1)
    assert any((clean[name].low != moved[name].low).any() for name in names)


def test_padding_changes_nothing_in_the_plan(model: ir.Model, batches: list[Feeds]) -> None:
    options = QuantizeOptions(ranges="minmax", threads=1)
    clean = quantize_static(model, batches, SCHEME, options)
    other = quantize_static(model, [junk_in_padding(each, 7) for each in batches], SCHEME, options)
    assert clean.plan.to_json() == other.plan.to_json()
    for name, each in clean.plan.linears.items():
        assert each.input == other.plan.linears[name].input
    assert clean.plan.attentions == other.plan.attentions


def test_what_is_seen(model: ir.Model, batches: list[Feeds]) -> None:
    """Against the values of every token, taken out one batch at a time by other means."""
    names = names_of(model)
    found = collect(model, names, batches, threads=1)
    runner, seen = Runner(model, taps=names, threads=1), dict[str, list[NDArray[Any]]]()
    for feeds in batches:
        for name, value in runner(feeds, names).items():
            tokens = value[:, 0] if value.shape[1:2] == (1,) else value
            keep = np.argwhere(feeds["attention_mask"] == 1) if tokens.ndim == 3 else None
            rows = tokens if keep is None else np.stack([tokens[i, j] for i, j in keep])
            seen.setdefault(name, []).append(rows)
    for name in names:
        rows = np.concatenate(seen[name])
        np.testing.assert_allclose(found[name].low, rows.min(axis=0), atol=1e-6)
        np.testing.assert_allclose(found[name].high, rows.max(axis=0), atol=1e-6)


def test_progress_counts_texts(model: ir.Model, batches: list[Feeds], tmp_path: Path) -> None:
    cache, done = ArrayCache(tmp_path), list[int]()
    collect(model, names_of(model), batches, threads=1, advance=done.append, cache=cache)
    assert done == [4, 4, 4]
    collect(model, names_of(model), batches, threads=1, advance=done.append, cache=cache)
    assert done[3:] == [12]


def test_the_cache_gives_the_same_plan_without_running(
    model: ir.Model, batches: list[Feeds], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, options = ArrayCache(tmp_path), QuantizeOptions(ranges="minmax", threads=1)
    first = quantize_static(model, batches, SCHEME, options, cache=cache)

    def refuse(*_: object) -> None:
        raise AssertionError("the cache was not used")

    monkeypatch.setattr(statistics, "_watch", refuse)
    second = quantize_static(model, batches, SCHEME, options, cache=cache)
    assert first.smoothing == second.smoothing
    assert first.plan.linears.keys() == second.plan.linears.keys()
    for name, one in first.plan.linears.items():
        other = second.plan.linears[name]
        assert one.weight is not None
        assert other.weight is not None
        assert (one.input, one.role) == (other.input, other.role)
        np.testing.assert_array_equal(one.weight.values, other.weight.values)
        np.testing.assert_array_equal(one.weight.scale, other.weight.scale)
        np.testing.assert_array_equal(one.bias, other.bias)
    assert first.plan.attentions == second.plan.attentions
    assert first.plan.to_json() == second.plan.to_json()


def test_the_cache_knows_other_weights_and_other_texts(
    model: ir.Model, batches: list[Feeds], tmp_path: Path
) -> None:
    cache, names = ArrayCache(tmp_path), names_of(model)
    collect(model, names, batches, threads=1, cache=cache)
    assert len(list(tmp_path.rglob("*.npz"))) == 1
    collect(model, names, batches[:2], threads=1, cache=cache)
    other = model.clone()
    other.graph.initializers["words"].const_value = ir.tensor(ramp(20, 8, step=3), name="words")
    collect(other, names, batches, threads=1, cache=cache)
    assert len(list(tmp_path.rglob("*.npz"))) == 3
