from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.quantize import layer
from compiler.quantize.layer import QuantizedSite, Rows, quantize_site
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.sites import Site, sites_of
from compiler.quantize.statistics import ChannelRange
from targets.spec import QuantScheme
from tests.support.graphs import encoder

SCHEME = QuantScheme("u8", True, 127, "float", "float")
NARROW = QuantScheme("s8", False, 64, "s8", "float")
OPTIONS = QuantizeOptions(ranges="minmax")
PLAIN = QuantizeOptions(ranges="minmax", smooth=False, rounding="nearest", bias_correction=False)
Array = NDArray[np.float32]


def site_of(role: str = "layer0.ffn_up", **weights: Any) -> Site:
    """A place of a small encoder that reads 8 channels."""
    return next(each for each in sites_of(encoder(weights=weights)) if each.role == role)


def rows_of(seed: int = 0, count: int = 300, *, noise: float = 0.0, moved: float = 0.0) -> Rows:
    """Correlated rows; those of the quantized model differ by noise and by a constant."""
    rng = np.random.default_rng(seed)
    exact = rng.standard_normal((count, 3)) @ rng.standard_normal((3, 8))
    exact = (exact + 0.3 * rng.standard_normal(exact.shape)).astype(np.float32)
    seen = exact + noise * rng.standard_normal(exact.shape) + moved
    return Rows(exact, seen.astype(np.float32), np.arange(count) % 5 == 4)


def quantize(
    site: Site, rows: Rows, options: QuantizeOptions = OPTIONS, scheme: QuantScheme = SCHEME
) -> QuantizedSite:
    return quantize_site(site, rows, ChannelRange.of(rows.exact), scheme, options)


def error(site: Site, rows: Rows, done: QuantizedSite, which: NDArray[np.bool_]) -> float:
    wanted = rows.exact[which] @ site.weight + site.bias
    return float(np.square(done(rows.seen[which]) - wanted, dtype=np.float64).mean())


def test_the_bias_makes_good_a_constant_error() -> None:
    site, rows = site_of(), rows_of(moved=0.4)
    with_it, without = (quantize(site, rows, replace(PLAIN, bias_correction=each)) for each in (True, False))
    assert with_it.corrected
    assert not without.corrected
    np.testing.assert_array_equal(without.bias, site.bias)
    np.testing.assert_array_equal(with_it.weight.values, without.weight.values)
    held = rows.held
    assert error(site, rows, with_it, held) < 0.2 * error(site, rows, without, held)
    left = rows.exact[~held] @ site.weight + site.bias - with_it(rows.seen[~held])
    np.testing.assert_allclose(left.mean(axis=0), 0, atol=1e-4)


def test_a_correction_that_the_held_rows_do_not_share_is_refused() -> None:
    site, rows = site_of(), rows_of()
    seen = rows.seen.copy()
    seen[~rows.held] += np.float32(0.4)
    done = quantize(site, Rows(rows.exact, seen, rows.held), replace(PLAIN, bias_correction=True))
    assert not done.corrected
    np.testing.assert_array_equal(done.bias, site.bias)


@settings(max_examples=25)
@given(st.integers(0, 9999), st.floats(0, 0.5), st.floats(-0.5, 0.5), st.integers(5, 60))
def test_held_rows_never_lose_by_the_correction(seed: int, noise: float, moved: float, count: int) -> None:
    site, rows = site_of(), rows_of(seed, count, noise=noise, moved=moved)
    with_it, without = (quantize(site, rows, replace(PLAIN, bias_correction=each)) for each in (True, False))
    before, after = (error(site, rows, each, rows.held) for each in (without, with_it))
    assert after <= before * (1 + 1e-4)
    assert with_it.corrected == (after != before)


@settings(max_examples=25)
@given(st.integers(0, 9999), st.integers(5, 60))
def test_held_rows_never_lose_by_gptq(seed: int, count: int) -> None:
    site, rows = site_of(), rows_of(seed, count)
    options = replace(PLAIN, rounding="gptq")
    done, nearest = quantize(site, rows, options, NARROW), quantize(site, rows, PLAIN, NARROW)
    np.testing.assert_array_equal(done.weight.scale, nearest.weight.scale)
    assert error(site, rows, done, rows.held) <= error(site, rows, nearest, rows.held) * (1 + 1e-4)


def test_gptq_is_used_where_it_helps_and_refused_where_it_does_not() -> None:
    """Held rows that follow another correlation than those learnt from lose by compensation."""
    site, rows = site_of(), rows_of(count=400)
    options = replace(PLAIN, rounding="gptq")
    nearest = quantize(site, rows, PLAIN, NARROW)
    done = quantize(site, rows, options, NARROW)
    assert (done.weight.values != nearest.weight.values).any()
    assert error(site, rows, done, rows.held) < error(site, rows, nearest, rows.held)
    wide = (done.weight.values.astype(np.int64) - nearest.weight.values) * nearest.weight.scale
    against = np.linalg.svd(wide.astype(np.float64))[0][:, :1].T
    other = rows.exact.copy()
    other[rows.held] = np.random.default_rng(1).standard_normal((int(rows.held.sum()), 1)) @ against
    refused = quantize_site(site, Rows(other, other, rows.held), ChannelRange.of(rows.exact), NARROW, options)
    np.testing.assert_array_equal(refused.weight.values, nearest.weight.values)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_with_no_rows_to_judge_by_nothing_is_compensated(count: int) -> None:
    site, rows = site_of(), rows_of(count=count)
    assert not rows.held.any()
    done = quantize(site, rows, replace(OPTIONS, smooth=False))
    nearest = quantize(site, rows, PLAIN)
    np.testing.assert_array_equal(done.weight.values, nearest.weight.values)
    assert not done.corrected


@settings(max_examples=20)
@given(st.integers(0, 9999), st.floats(1, 50), st.floats(-30, 30), st.sampled_from((SCHEME, NARROW)))
def test_a_quantized_layer_is_close_to_the_exact_one(
    seed: int, outlier: float, offset: float, scheme: QuantScheme
) -> None:
    """Whatever the transform: its scale is in the weight and its shift in the bias."""
    site, rows = site_of(), rows_of(seed)
    exact = rows.exact * np.where(np.arange(8) == 2, np.float32(outlier), np.float32(1))
    exact[:, 6] += np.float32(offset)
    rows = Rows(exact, exact, rows.held)
    done = quantize(site, rows, OPTIONS, scheme)
    wanted = exact @ site.weight + site.bias
    assert error(site, rows, done, np.ones(len(exact), bool)) < 0.005 * float(wanted.var()) + 1e-6
    transform = done.transform
    x = transform(exact).astype(np.float64) @ transform.weight(site.weight) + transform.offset(site.weight)
    np.testing.assert_allclose(x + site.bias, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())
    assert int(np.abs(done.weight.values.astype(int)).max()) <= scheme.weight_qmax
    assert (done.param.signed, done.param.symmetric) == (scheme.activation == "s8", not scheme.asymmetric)
    if not done.corrected:
        np.testing.assert_array_equal(done.bias, site.bias + transform.offset(site.weight))


def test_smoothing_lowers_the_error_of_outlying_channels() -> None:
    site, rows = site_of(), rows_of(count=4000)
    exact = rows.exact.copy()
    exact[:, 2] *= 60
    exact[:, 5] += 40
    rows = Rows(exact, exact, rows.held)
    plain, smooth = quantize(site, rows, PLAIN), quantize(site, rows, replace(PLAIN, smooth=True))
    scaled = quantize(site, rows, replace(PLAIN, smooth=True, shift=False))
    assert smooth.transform.shifted
    assert not scaled.transform.shifted
    errors = [error(site, rows, each, rows.held) for each in (smooth, scaled, plain)]
    assert errors[0] < errors[1] < errors[2]


def test_all_readers_of_one_value_are_quantized_together() -> None:
    site = site_of("layer0.query")
    done = quantize(site, rows_of())
    assert [each.name for each in site.linears] == ["q0", "k0", "v0"]
    assert done.weight.values.shape == (8, 24)
    assert done.bias.shape == (24,)


def test_the_range_is_that_of_all_text_not_only_of_the_rows() -> None:
    site, rows = site_of(), rows_of()
    known = ChannelRange.of(rows.exact)
    known.high[3], known.low[1] = 50, -70
    done = quantize_site(site, rows, known, SCHEME, PLAIN)
    low, high = done.param.bounds
    assert low == pytest.approx(-70, abs=0.5)
    assert high == pytest.approx(50, abs=0.5)


def test_held_rows_are_never_learnt_from() -> None:
    site, rows = site_of(), rows_of(moved=0.1)
    seen = rows.seen.copy()
    seen[rows.held] *= np.float32(1.001)
    known = ChannelRange.of(rows.exact)
    one = quantize_site(site, rows, known, SCHEME, OPTIONS)
    other = quantize_site(site, Rows(rows.exact, seen, rows.held), known, SCHEME, OPTIONS)
    assert one.corrected
    assert one.bias.tobytes() == other.bias.tobytes()
    assert one.weight.values.tobytes() == other.weight.values.tobytes()


def test_a_search_sees_a_bounded_number_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = layer.search_transform

    def watched(rows: Array, *rest: Any) -> Any:
        seen.append(len(rows))
        return original(rows, *rest)

    monkeypatch.setattr(layer, "search_transform", watched)
    for count in (20, 2560, 2561, 9000):
        quantize(site_of(), rows_of(count=count))
    assert seen[:2] == [4, 512]
    assert all(each <= layer.SEARCH_ROWS for each in seen)
