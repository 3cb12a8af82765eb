"""Choosing ranges from histograms, against the data that the histograms summarize."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from calibration import METHODS, RangeObserver, choose_range, expected_error, fake_quantize, qparams
from calibration.divergence import best_window, divergence
from targets.errors import UsageError

Floats = NDArray[np.float32]
EVERY = pytest.mark.parametrize("method", METHODS)
ROUNDING = 1e-9
SYMMETRY = pytest.mark.parametrize("symmetric", [True, False])


def seen(x: Floats) -> RangeObserver:
    observer = RangeObserver()
    observer.update(x.reshape(-1, 1))
    return observer


def heavy_tailed(n: int = 200_000) -> Floats:
    return np.random.default_rng(0).standard_t(3, size=n).astype(np.float32)


def gelu_like(n: int = 200_000) -> Floats:
    x = np.random.default_rng(1).standard_normal(n)
    return (x / (1.0 + np.exp(-1.7 * x)) * np.where(np.arange(n) % 500 == 0, 8.0, 1.0)).astype(np.float32)


def real_error(x: Floats, ends: tuple[float, float], symmetric: bool) -> float:
    params = qparams(*ends, 8, symmetric, symmetric)
    return float(np.mean((fake_quantize(x, params, signed=symmetric).astype(np.float64) - x) ** 2))


@EVERY
@SYMMETRY
@settings(max_examples=15, deadline=None)
@given(x=hnp.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e4, 1e4, width=32)))
def test_zero_is_inside_and_the_range_is_inside_what_was_seen(
    method: str, symmetric: bool, x: Floats
) -> None:
    low, high = choose_range(seen(x), method, symmetric=symmetric, signed=symmetric)
    assert low <= 0.0 <= high
    assert -low <= np.abs(x).max()
    assert high <= np.abs(x).max()
    if symmetric:
        assert low == -high
    else:
        assert low >= min(float(x.min()), 0.0)
        assert high <= max(float(x.max()), 0.0)


@EVERY
@SYMMETRY
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-42])
def test_constant_tensors(method: str, symmetric: bool, value: float) -> None:
    x = np.full(100, value, np.float32)
    bound = float(x[0])
    low, high = choose_range(seen(x), method, symmetric=symmetric, signed=True)
    expected = (-abs(bound), abs(bound)) if symmetric else (min(bound, 0.0), max(bound, 0.0))
    assert (low, high) == expected


@EVERY
def test_nothing_seen(method: str) -> None:
    assert choose_range(RangeObserver(), method, symmetric=False, signed=False) == (0.0, 0.0)


@EVERY
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_sided_tensors_keep_zero_as_their_other_end(method: str, sign: float) -> None:
    x = (sign * np.abs(heavy_tailed(20_000))).astype(np.float32)
    low, high = choose_range(seen(x), method, symmetric=False, signed=False)
    near, far = (low, high) if sign > 0 else (high, low)
    assert near == 0.0
    assert sign * far > 0.0


def test_minmax_is_what_was_seen() -> None:
    observer = seen(np.array([-1.5, 0.25, 7.0], np.float32))
    assert choose_range(observer, "minmax", symmetric=False, signed=False) == (-1.5, 7.0)
    assert choose_range(observer, "minmax", symmetric=True, signed=True) == (-7.0, 7.0)


@pytest.mark.parametrize("percentile", ["99.99", "99.999", "99", "90"])
def test_percentiles_are_those_of_the_data(percentile: str) -> None:
    x = gelu_like()
    observer = seen(x)
    width = float(observer.edges[1] - observer.edges[0])
    share = float(percentile)
    _, bound = choose_range(observer, f"percentile-{percentile}", symmetric=True, signed=True)
    assert np.mean(np.abs(x) <= bound + width) >= share / 100 - ROUNDING
    assert np.mean(np.abs(x) < bound - width) <= share / 100 + ROUNDING
    low, high = choose_range(observer, f"percentile-{percentile}", symmetric=False, signed=False)
    outside = (100 - share) / 200
    assert np.mean(x < low - width) <= outside + ROUNDING
    assert np.mean(x <= low + width) >= outside - ROUNDING
    assert np.mean(x > high + width) <= outside + ROUNDING
    assert np.mean(x >= high - width) >= outside - ROUNDING


@SYMMETRY
@pytest.mark.parametrize("make", [heavy_tailed, gelu_like])
def test_expected_error_is_the_real_one(make: type, symmetric: bool) -> None:
    x = make()
    observer = seen(x)
    top = float(np.abs(x).max())
    ends = [(-top * share, top * share) for share in (1.0, 0.5, 0.2, 0.05)]
    expected = expected_error(observer, ends, bits=8, symmetric=symmetric, signed=symmetric)
    real = [real_error(x, pair, symmetric) for pair in ends]
    assert np.allclose(expected, real, rtol=0.03)


@SYMMETRY
@pytest.mark.parametrize("make", [heavy_tailed, gelu_like])
def test_mse_is_as_good_as_a_fine_search_on_the_data_itself(make: type, symmetric: bool) -> None:
    x = make()
    chosen = choose_range(seen(x), "mse", symmetric=symmetric, signed=symmetric)
    low, high = (-np.abs(x).max(), np.abs(x).max()) if symmetric else (x.min(), x.max())
    shares = np.geomspace(1.0, 0.02, 60)
    by_hand = min(real_error(x, (float(low) * s, float(high) * s), symmetric) for s in shares)
    assert real_error(x, chosen, symmetric) <= by_hand * 1.02
    assert real_error(x, chosen, symmetric) < real_error(x, (float(low), float(high)), symmetric)


@settings(max_examples=15, deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(2, 100), elements=st.floats(-1e3, 1e3, width=32)),
    st.booleans(),
    st.booleans(),
    st.sampled_from([4, 8]),
)
def test_mse_is_never_worse_than_minmax(x: Floats, symmetric: bool, signed: bool, bits: int) -> None:
    observer = seen(x)
    ends = [
        choose_range(observer, method, bits=bits, symmetric=symmetric, signed=signed)
        for method in ("mse", "minmax")
    ]
    mse, minmax = expected_error(observer, ends, bits=bits, symmetric=symmetric, signed=signed)
    assert mse <= minmax


@SYMMETRY
def test_one_outlier_among_many_is_clipped_by_every_method_but_minmax(symmetric: bool) -> None:
    x = np.random.default_rng(2).standard_normal(400_000).astype(np.float32)
    x[0] = 500.0
    observer = seen(x)
    highs = {m: choose_range(observer, m, symmetric=symmetric, signed=symmetric)[1] for m in METHODS}
    assert highs["minmax"] == 500.0
    assert highs["mse"] < 400.0
    assert max(highs[m] for m in METHODS if m not in ("minmax", "mse")) < 40.0


def test_entropy_keeps_all_of_an_even_spread() -> None:
    x = np.linspace(-1.0, 1.0, 100_001, dtype=np.float32)
    _, bound = choose_range(seen(x), "entropy", symmetric=True, signed=True)
    low, high = choose_range(seen(x), "entropy", symmetric=False, signed=False)
    assert bound > 0.95
    assert low < -0.95
    assert high > 0.95


def test_divergence_by_hand() -> None:
    counts = np.array([4, 0, 2, 2, 1, 1, 0, 2])
    assert divergence(counts, 0, 8, 8) == pytest.approx(0.0, abs=1e-5)
    p, q = np.array([4, 2, 4]) / 10, np.array([4, 2, 2]) / 8
    counts = np.array([4, 2, 2, 1, 1])
    assert divergence(counts, 0, 3, 3) == pytest.approx(float(np.sum(p * np.log(p / q))), abs=1e-5)
    p, q = np.array([6, 2, 1, 1]) / 10, np.array([4, 4, 1, 1]) / 10
    counts = np.array([6, 0, 2, 0, 1, 1, 0, 0])
    assert divergence(counts, 0, 8, 2) == pytest.approx(float(np.sum(p * np.log(p / q))), abs=1e-5)


def test_window_of_an_empty_or_narrow_histogram() -> None:
    assert best_window(np.zeros(64, np.int64), 32, 16) == (32, 32)
    narrow = np.zeros(64, np.int64)
    narrow[30:34] = 5
    assert best_window(narrow, 32, 16) == (30, 34)


@pytest.mark.parametrize(
    "method", ["median", "percentile-", "percentile-0", "percentile-50", "percentile-101", ""]
)
def test_unknown_methods(method: str) -> None:
    with pytest.raises(UsageError, match="unknown range method"):
        choose_range(seen(np.ones(4, np.float32)), method, symmetric=True, signed=True)
