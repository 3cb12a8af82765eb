from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from calibration.qparams import fake_quantize, qparams
from compiler.quantize.smooth import ALPHAS, SmoothRules, Transform, search_transform
from compiler.quantize.statistics import ChannelRange
from compiler.quantize.weights import quantize_columns

RULES = SmoothRules(symmetric=False, qmax=127, shift=True, compensated=False)
Array = NDArray[np.float32]


def sample(seed: int, *, outlier: float = 1.0, offset: float = 0.0) -> tuple[Array, Array]:
    """Rows [200, 16] with one channel that is `outlier` times as wide and one `offset` away; W [16, 5]."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(-1, 1, (200, 16))
    rows[:, 3] *= outlier
    rows[:, 5] += offset
    return rows.astype(np.float32), rng.standard_normal((16, 5)).astype(np.float32)


def search(rows: Array, weight: Array, rules: SmoothRules = RULES) -> Transform:
    known = ChannelRange.of(rows)
    return search_transform(rows, known, known, weight, rules)


def quantized_error(transform: Transform, rows: Array, weight: Array, qmax: int = 127) -> float:
    """Of a layer whose input and weight are both quantized, by other code than the search's."""
    x = transform(rows)
    params = qparams(min(float(x.min()), 0.0), max(float(x.max()), 0.0), 8, False, False)
    dense = quantize_columns(transform.weight(weight), qmax=qmax).dequantized()
    got = fake_quantize(x, params, bits=8, signed=False) @ dense + transform.offset(weight)
    return float(np.square(got - rows @ weight).mean())


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 6))
def test_a_transform_keeps_the_product(seed: int, channels: int, outputs: int) -> None:
    """`(x - shift) / scale` times the scaled weight, plus the offset, is x W."""
    rng = np.random.default_rng(seed)
    scale = (10.0 ** rng.uniform(-2, 2, channels)).astype(np.float32)
    shift = (rng.standard_normal(channels) * 10.0 ** rng.uniform(-2, 2)).astype(np.float32)
    x = (rng.standard_normal((3, 4, channels)) * scale + shift).astype(np.float32)
    weight = rng.standard_normal((channels, outputs)).astype(np.float32)
    transform = Transform(scale, shift, 0.5)
    got = transform(x).astype(np.float64) @ transform.weight(weight) + transform.offset(weight)
    terms = (np.abs(x) + np.abs(shift)).astype(np.float64) @ np.abs(weight)
    assert (np.abs(got - x.astype(np.float64) @ weight) <= 1e-6 * terms + 1e-30).all()


def test_the_transform_that_does_nothing() -> None:
    rows, weight = sample(0)
    off = Transform.identity(16)
    assert not off.changes
    assert not off.shifted
    np.testing.assert_array_equal(off(rows), rows)
    np.testing.assert_array_equal(off.weight(weight), weight)
    np.testing.assert_array_equal(off.offset(weight), 0)


@pytest.mark.parametrize("compensated", [False, True])
def test_an_outlying_channel_is_moved_into_the_weight(compensated: bool) -> None:
    rows, weight = sample(1, outlier=60)
    found = search(rows, weight, replace(RULES, compensated=compensated))
    assert found.alpha in ALPHAS
    assert found.scale.argmax() == 3
    assert found.gain > 10
    off = Transform.identity(16)
    assert quantized_error(found, rows, weight) < quantized_error(off, rows, weight) / 5
    assert np.exp(np.log(found.scale.astype(np.float64)).mean()) == pytest.approx(1, rel=1e-5)


def test_a_channel_far_from_zero_is_shifted_if_that_is_allowed() -> None:
    rows, weight = sample(2, offset=40)
    shifted, only_scaled = search(rows, weight), search(rows, weight, replace(RULES, shift=False))
    assert shifted.shifted
    assert not only_scaled.shifted
    middle = (rows.min(axis=0) + rows.max(axis=0)) / 2
    np.testing.assert_allclose(shifted.shift, middle, rtol=1e-6, atol=1e-6)
    assert shifted.gain > only_scaled.gain
    errors = [quantized_error(each, rows, weight) for each in (shifted, only_scaled)]
    assert errors[0] < errors[1] / 2


def test_nothing_is_done_where_nothing_is_gained(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, weight = sample(3)
    even = search(np.where(np.abs(rows) < 0.9, rows, np.sign(rows)), np.sign(weight))
    assert (even.changes, even.gain) == (False, 1.0)
    monkeypatch.setattr("compiler.quantize.smooth._LEAST_GAIN", 0.0)
    outlying, weight = sample(1, outlier=60, offset=40)
    assert not search(outlying, weight).changes


@given(
    st.integers(0, 9999), st.floats(1, 300), st.floats(-100, 100), st.booleans(), st.sampled_from((127, 64))
)
def test_what_is_chosen_is_never_worse(
    seed: int, outlier: float, offset: float, symmetric: bool, qmax: int
) -> None:
    rows, weight = sample(seed, outlier=outlier, offset=offset)
    found = search(rows, weight, SmoothRules(symmetric, qmax, shift=True, compensated=False))
    assert (found.scale > 0).all()
    assert np.isfinite(found.scale).all()
    assert found.changes == (found.gain > 1)
    assert not found.changes or found.gain > 1 / 0.9
    if found.changes and not symmetric:
        off = Transform.identity(16)
        assert quantized_error(found, rows, weight, qmax) < 1.1 * quantized_error(off, rows, weight, qmax)


def test_channels_that_are_constant_or_unused() -> None:
    rows, weight = sample(4, outlier=60)
    rows[:, 0], rows[:, 1], weight[2] = 0, 7, 0
    found = search(rows, weight)
    assert np.isfinite(found.scale).all()
    assert (found.scale > 0).all()
    assert quantized_error(found, rows, weight) < quantized_error(Transform.identity(16), rows, weight)


def test_the_same_rows_give_the_same_transform() -> None:
    rows, weight = sample(5, outlier=60, offset=40)
    one, other = search(rows, weight), search(rows.copy(), weight.copy())
    assert (one.alpha, one.gain) == (other.alpha, other.gain)
    assert one.scale.tobytes() == other.scale.tobytes()
    assert one.shift.tobytes() == other.shift.tobytes()


def test_what_suits_only_the_rows_it_was_fitted_to_is_not_chosen() -> None:
    """Channels that were seen far too narrow, one apart: other rows are clipped by every scale."""
    rows, weight = sample(6)
    low, high = rows.min(axis=0) / 20, rows.max(axis=0) / 20
    low[3], high[3] = -1, 1
    narrow, known = ChannelRange(low, high), ChannelRange.of(rows)
    assert search_transform(rows / 20, narrow, known, weight, RULES).alpha > 0
    assert search_transform(rows, narrow, known, weight, RULES).alpha == 0


def test_the_result_is_made_for_all_that_is_known() -> None:
    rows, weight = sample(7, outlier=60)
    fitted = ChannelRange.of(rows)
    known = ChannelRange(fitted.low.copy(), fitted.high.copy())
    known.high[3] *= 2
    one = search_transform(rows, fitted, fitted, weight, RULES)
    other = search_transform(rows, fitted, known, weight, RULES)
    assert (one.alpha, one.gain) == (other.alpha, other.gain)
    assert other.scale[3] / other.scale[0] > 1.5 * one.scale[3] / one.scale[0]
