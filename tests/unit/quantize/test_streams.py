from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.sampler import thinned
from compiler.ir.execute import Runner
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.quantize import streams as module
from compiler.quantize.layer import Noise, QuantizedSite, Rows, quantize_site
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.plan import QParam, QWeight
from compiler.quantize.quantizer import quantize_static
from compiler.quantize.sites import Site, sites_of
from compiler.quantize.smooth import Transform
from compiler.quantize.statistics import collect, token_rows
from compiler.quantize.streams import MOST_TOKENS, Streams
from targets.spec import QuantScheme
from tests.support.graphs import encoder, encoder_feeds
from tests.support.simulate import simulate

SCHEME = QuantScheme("u8", True, 127, "float", "float")
OPTIONS = QuantizeOptions(ranges="minmax", threads=1)
PLAIN = QuantizeOptions(ranges="minmax", smooth=False, threads=1)
Feeds = dict[str, NDArray[Any]]


def fused(*, layers: int = 2, head: str = "cls") -> ir.Model:
    model = encoder(layers=layers, head=head)
    PassManager(encoder_passes()).run(model)
    return model


def texts(count: int = 6) -> list[Feeds]:
    return [dict(encoder_feeds(4, 9, seed)) for seed in range(count)]


def exactly(site: Site) -> QuantizedSite:
    """A layer that rounds nothing."""

    class Exact(QuantizedSite):
        def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.asarray(x @ site.weight + site.bias, np.float32)

    weight = QWeight(np.zeros(site.weight.shape, np.int8), np.ones(site.weight.shape[1], np.float32), 1)
    param = QParam(1.0, 0, False, False, "none")
    return Exact(Transform.identity(len(site.weight)), param, weight, site.bias, False, Noise(None, None))


def walk(streams: Streams, sites: list[Site]) -> list[Rows]:
    """The rows at every site when every layer stays exact."""
    found = []
    for index, site in enumerate(sites):
        found.append(streams.rows(index))
        streams.step(index, exactly(site))
    return found


@pytest.mark.parametrize("head", ["cls", "tokens"])
def test_both_streams_are_the_float_model_until_something_is_rounded(head: str) -> None:
    model, batches = fused(head=head), texts()
    sites = sites_of(model)
    names = [str(site.value.name) for site in sites]
    runner = Runner(model, taps=names, threads=1)
    values = [runner(each) for each in batches]
    masks = [each["attention_mask"].astype(bool) for each in batches]
    for name, rows in zip(names, walk(Streams(model, sites, batches, threads=1), sites), strict=True):
        np.testing.assert_array_equal(rows.exact, rows.seen)
        wanted = [token_rows(each[name], mask) for each, mask in zip(values, masks, strict=True)]
        np.testing.assert_allclose(rows.exact, np.concatenate(wanted), atol=1e-4)
        assert len(rows.held) == len(rows.exact)


@pytest.mark.parametrize("options", [PLAIN, OPTIONS], ids=["plain", "smooth"])
def test_the_quantized_stream_is_what_the_plan_computes(options: QuantizeOptions) -> None:
    """At every site, against the whole plan run as a graph with its rounding written out."""
    model, batches = fused(), texts()
    quantized = quantize_static(model, batches, SCHEME, options)
    runner = simulate(quantized, tables=False)
    sites = sites_of(model)
    known = collect(model, [str(site.value.name) for site in sites], batches, threads=1)
    streams = Streams(model, sites, batches, threads=1)
    for index, site in enumerate(sites):
        rows = streams.rows(index)
        done = quantize_site(site, rows, known[str(site.value.name)], SCHEME, options)
        linear = quantized.plan.linears[site.linears[0].name]
        assert linear.weight is not None
        np.testing.assert_array_equal(linear.weight.values, done.weight.values)
        assert linear.input == done.param
        assert (rows.exact != rows.seen).any() == (index > 0)
        streams.step(index, done)
    logits = str(sites[-1].linears[0].output.name)
    got = [values[logits] for values in streams._seen]
    for feeds, mine in zip(batches, got, strict=True):
        np.testing.assert_allclose(mine, runner(feeds)["logits"], atol=2e-3)
    exact = [values[logits] for values in streams._exact]
    floats = Runner(model, threads=1)
    for feeds, mine in zip(batches, exact, strict=True):
        np.testing.assert_allclose(mine, floats(feeds)["logits"], atol=1e-4)
    moved = max(float(np.abs(a - b).max()) for a, b in zip(got, exact, strict=True))
    assert moved > 1e-2


def test_what_nothing_reads_is_forgotten() -> None:
    model, batches = fused(), texts(2)
    sites = sites_of(model)
    streams = Streams(model, sites, batches, threads=1)
    walk(streams, sites)
    logits = str(sites[-1].linears[0].output.name)
    for values in (*streams._exact, *streams._seen):
        unread = {"token_type_ids", "position_ids"}
        assert set(values) - unread == {logits}
    assert all(set(each) == {"input_ids", "attention_mask"} for each in batches)


def sized(lengths: list[int], batch: int) -> list[Feeds]:
    return [{"attention_mask": np.ones((batch, length), np.int64)} for length in lengths]


def tokens(batches: Any) -> int:
    return sum(int(each["attention_mask"].size) for each in batches)


@given(st.lists(st.integers(1, 128), min_size=1, max_size=300), st.integers(1, 32))
def test_the_number_of_tokens_is_bounded(lengths: list[int], batch: int) -> None:
    """Batches come as `text_feeds` makes them: longest first."""
    batches = sized(sorted(lengths, reverse=True), batch)
    kept = thinned(batches, module.MOST_TOKENS)
    largest = max(tokens([each]) for each in batches)
    assert 1 <= len(kept) <= len(batches)
    assert tokens(kept) <= MOST_TOKENS + largest
    assert all(any(each is other for other in batches) for each in kept)
    if tokens(batches) <= MOST_TOKENS:
        assert len(kept) == len(batches)
    else:
        assert tokens(kept) >= MOST_TOKENS / 4 - largest


def test_the_share_is_even_over_lengths() -> None:
    batches = sized(sorted(range(1, 129), reverse=True), 16)
    kept = [each["attention_mask"].shape[1] for each in thinned(batches, module.MOST_TOKENS)]
    assert max(kept) == 128
    assert min(kept) < 20
    assert np.ptp(np.diff(kept)) <= 1


def test_rows_of_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_TOKENS", 150)
    model, batches = fused(layers=1), texts(40)
    sites = sites_of(model)
    streams = Streams(model, sites, batches, threads=1)
    for index, site in enumerate(sites):
        rows = streams.rows(index)
        assert 0 < len(rows.exact) <= 150 + 4 * 9
        assert len(rows.exact) == len(rows.seen) == len(rows.held)
        streams.step(index, exactly(site))


@given(st.lists(st.integers(1, 9), min_size=5, max_size=40))
def test_held_rows_are_whole_batches(sizes: list[int]) -> None:
    held = module._held([np.zeros((size, 2), np.float32) for size in sizes])
    parts = np.split(held, np.cumsum(sizes)[:-1])
    assert all(part.all() or not part.any() for part in parts)
    assert sum(bool(part.all()) for part in parts) == (len(sizes) + 2) // 5
    assert not held.all()


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_few_batches_hold_every_fifth_row(sizes: list[int]) -> None:
    held = module._held([np.zeros((size, 2), np.float32) for size in sizes])
    assert len(held) == sum(sizes)
    assert held.sum() == sum(sizes) // 5


def test_out_of_sequence_no_layer_sees_what_another_rounds() -> None:
    """Each site gets the float model's rows, though every layer before it is quantized."""
    model, batches = fused(), texts()
    sites = sites_of(model)
    known = collect(model, [str(site.value.name) for site in sites], batches, threads=1)
    exact = walk(Streams(model, sites, batches, threads=1), sites)
    streams = Streams(model, sites, batches, sequential=False, threads=1)
    for index, site in enumerate(sites):
        rows = streams.rows(index)
        np.testing.assert_array_equal(rows.seen, exact[index].exact)
        np.testing.assert_array_equal(rows.held, exact[index].held)
        streams.step(index, quantize_site(site, rows, known[str(site.value.name)], SCHEME, OPTIONS))
