"""Streaming statistics: what they say, and that order, splits and merges do not matter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from calibration import RangeObserver
from targets.errors import InternalError, UnsupportedError

Floats = NDArray[np.float32]
MAGNITUDES = st.floats(2.0**-40, 2.0**40, width=32)
VALUES = st.one_of(st.just(0.0), MAGNITUDES, MAGNITUDES.map(lambda value: -value))
ROWS = hnp.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(3)), elements=VALUES)


def seen(*batches: Floats, bins: int = 2048) -> RangeObserver:
    observer = RangeObserver(bins)
    for batch in batches:
        observer.update(batch)
    return observer


def same(a: RangeObserver, b: RangeObserver) -> bool:
    left, right = a.to_arrays(), b.to_arrays()
    return left.keys() == right.keys() and all(np.array_equal(left[key], right[key]) for key in left)


@given(st.lists(ROWS, max_size=5))
def test_order_splits_and_merges_do_not_matter(batches: list[Floats]) -> None:
    whole = seen(np.concatenate([np.zeros((0, 3), np.float32), *batches]))
    assert same(seen(*batches), whole)
    assert same(seen(*reversed(batches)), whole)
    half = len(batches) // 2
    merged, rest = seen(*batches[half:]), seen(*batches[:half])
    merged.merge(rest)
    assert same(merged, whole)
    assert same(RangeObserver.from_arrays(whole.to_arrays()), whole)


@given(ROWS.filter(len))
def test_every_value_is_counted_in_its_bin(rows: Floats) -> None:
    observer = seen(rows)
    edges, counts = observer.edges, observer.histogram
    expected = np.searchsorted(edges, rows.ravel().astype(np.float64), side="right") - 1
    assert np.array_equal(counts, np.bincount(expected, minlength=observer.bins))
    assert counts.sum() == observer.count == rows.size
    assert observer.minimum == rows.min()
    assert observer.maximum == rows.max()
    assert np.array_equal(observer.channel_absmax, np.abs(rows).max(axis=0))
    assert edges[0] == -edges[-1]
    assert np.abs(rows).max() <= edges[-1]


def test_the_histogram_widens_without_losing_a_count() -> None:
    observer = seen(np.array([[0.1], [-0.1]], np.float32))
    assert observer.edges[-1] == 0.125
    observer.update(np.array([[100.0]], np.float32))
    assert observer.edges[-1] == 128.0
    assert observer.histogram.sum() == 3
    assert observer.histogram[1023] == observer.histogram[1024] == 1
    assert len(observer.histogram) == 2048


def test_any_leading_shape_is_rows() -> None:
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    assert same(seen(x), seen(x.reshape(6, 4)))
    low, high = seen(x).channel_min, seen(x).channel_max
    assert low is not None
    assert high is not None
    assert low.tolist() == [0, 1, 2, 3]
    assert high.tolist() == [20, 21, 22, 23]


def test_nothing_seen() -> None:
    observer = RangeObserver()
    assert (observer.count, observer.minimum, observer.maximum) == (0, 0.0, 0.0)
    assert observer.channel_absmax.size == 0
    observer.merge(RangeObserver())
    observer.update(np.zeros((0, 4), np.float32))
    assert observer.channel_min is None
    assert same(RangeObserver.from_arrays(observer.to_arrays()), observer)


def test_only_zeros() -> None:
    observer = seen(np.zeros((5, 2), np.float32))
    assert observer.count == 10
    assert observer.histogram[1024] == 10


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_declined_before_anything_is_counted(bad: float) -> None:
    observer = seen(np.ones((2, 2), np.float32))
    with pytest.raises(UnsupportedError, match="NaN or infinity"):
        observer.update(np.array([[1.0, bad]], np.float32))
    assert same(observer, seen(np.ones((2, 2), np.float32)))


def test_misuse() -> None:
    with pytest.raises(InternalError):
        RangeObserver(1000)
    with pytest.raises(InternalError):
        seen(np.ones(3, np.float32))
    with pytest.raises(InternalError, match="3 channels after 2"):
        seen(np.ones((1, 2), np.float32), np.ones((1, 3), np.float32))
    with pytest.raises(InternalError, match="bins cannot merge"):
        RangeObserver(2048).merge(RangeObserver(4096))


def test_the_largest_floats() -> None:
    largest = np.finfo(np.float32).max
    observer = seen(np.array([[largest, -largest]], np.float32))
    assert observer.maximum == float(largest)
    assert observer.histogram[-1] == 1
    assert observer.histogram[0] == 1


@given(ROWS, ROWS)
def test_widening_moves_the_range_and_no_count(rows: Floats, other: Floats) -> None:
    rows, other = (np.concatenate([each, np.zeros((1, 3), np.float32)]) for each in (rows, other))
    observer, alone = seen(rows), seen(rows)
    observer.widen(other.min(axis=0), other.max(axis=0))
    both = np.concatenate([rows, other])
    np.testing.assert_array_equal(observer.channel_min, both.min(axis=0))
    np.testing.assert_array_equal(observer.channel_max, both.max(axis=0))
    np.testing.assert_array_equal(observer.histogram, alone.histogram)
    assert observer.count == alone.count
    with pytest.raises(InternalError, match="2 channels after 3"):
        observer.widen(np.zeros(2, np.float32), np.zeros(2, np.float32))
