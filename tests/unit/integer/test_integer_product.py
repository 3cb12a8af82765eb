"""Exact and saturating products against plain Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.integer.product import (
    HIGHEST,
    LOWEST,
    excess,
    integer_product,
    saturating_pairs,
    saturating_product,
)
from compiler.quantize.encoding import FULL_RANGE, HALF_RANGE
from targets.errors import UnsupportedError


def maddubs(x: list[int], w: list[int]) -> int:
    """One dot product as vpmaddubsw, vpmaddwd and vpaddd compute it, four channels at a time."""
    x, w = x + [0] * (-len(x) % 4), w + [0] * (-len(w) % 4)
    total = 0
    for k in range(0, len(x), 4):
        words = [x[k + i] * w[k + i] + x[k + i + 1] * w[k + i + 1] for i in (0, 2)]
        low, high = (max(-(2**15), min(2**15 - 1, word)) for word in words)
        total += low + high
    return total


def operands(
    seed: int, rows: int, k: int, columns: int, qmax: int = 127
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 256, (rows, k)).astype(np.uint8)
    return x, rng.integers(-qmax, qmax + 1, (k, columns)).astype(np.int8)


SHAPES = {
    "seed": st.integers(0, 2**32 - 1),
    "rows": st.integers(1, 6),
    "k": st.integers(1, 37),
    "columns": st.integers(1, 6),
}


@given(**SHAPES)
def test_the_exact_product(seed: int, rows: int, k: int, columns: int) -> None:
    x, w = operands(seed, rows, k, columns)
    wanted = [
        [sum(int(x[i, c]) * int(w[c, j]) for c in range(k)) for j in range(columns)] for i in range(rows)
    ]
    found = integer_product(x, w)
    assert found.dtype == np.int32
    assert found.tolist() == wanted


@given(**SHAPES)
def test_the_saturating_product(seed: int, rows: int, k: int, columns: int) -> None:
    x, w = operands(seed, rows, k, columns)
    wanted = [[maddubs(x[i].tolist(), w[:, j].tolist()) for j in range(columns)] for i in range(rows)]
    assert saturating_product(x, w).tolist() == wanted


@given(**SHAPES)
def test_half_range_weights_never_saturate(seed: int, rows: int, k: int, columns: int) -> None:
    x, w = operands(seed, rows, k, columns, HALF_RANGE)
    assert not excess(x, w).any()
    assert saturating_pairs(x, w) == 0


def test_half_range_is_the_bound() -> None:
    """The largest sums of a pair, which lie on the corners: products are monotonic in both factors."""
    corners = [a * v + b * u for a in (0, 255) for b in (0, 255) for v in (-64, 64) for u in (-64, 64)]
    assert (min(corners), max(corners)) == (-32640, 32640)
    assert min(corners) >= LOWEST
    assert max(corners) <= HIGHEST
    assert 255 * (HALF_RANGE + HALF_RANGE + 1) > HIGHEST


@pytest.mark.parametrize(("sign", "wanted"), [(1, HIGHEST), (-1, LOWEST)])
def test_full_range_weights_saturate(sign: int, wanted: int) -> None:
    x = np.full((1, 2), 255, np.uint8)
    w = np.full((2, 1), sign * FULL_RANGE, np.int8)
    assert saturating_product(x, w).item() == wanted
    assert integer_product(x, w).item() == sign * 2 * 255 * FULL_RANGE
    assert saturating_pairs(x, w) == 1


def test_only_neighbours_from_channel_zero_are_paired() -> None:
    w = np.array([[0], [127], [127], [0]], np.int8)
    x = np.full((1, 4), 255, np.uint8)
    assert not excess(x, w).any()
    assert excess(x[:, 1:], w[1:]).item() == 2 * 255 * 127 - HIGHEST


def test_s8_times_s8_through_a_shift_of_128() -> None:
    """The worked example of oneDNN's developer guide: 255 where 32258 is meant."""
    x = np.array([[127, 127, 0, 0]], np.int16)
    w = np.array([[127], [127], [0], [0]], np.int8)
    assert saturating_product((x + 128).astype(np.uint8), w).item() - 128 * int(w.sum()) == 255
    assert integer_product(x, w).item() == 32258


def test_chunks_of_columns_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w = operands(0, 9, 64, 40)
    whole = saturating_product(x, w)
    monkeypatch.setattr("compiler.integer.product._AT_ONCE", 30)
    np.testing.assert_array_equal(saturating_product(x, w), whole)


def test_float32_is_left_where_it_would_round() -> None:
    """2**24 + 1 is the first integer that float32 lacks."""
    k = 520
    x, w = np.full((1, k), 255, np.uint8), np.full((k, 1), 127, np.int8)
    w[-1] = 126
    assert integer_product(x, w).item() == 255 * 127 * (k - 1) + 255 * 126 > 2**24


def test_batches_of_products() -> None:
    rng = np.random.default_rng(0)
    x, w = rng.integers(-128, 128, (2, 3, 5, 8)), rng.integers(-128, 128, (2, 3, 8, 4))
    np.testing.assert_array_equal(integer_product(x.astype(np.int8), w.astype(np.int8)), x @ w)


def test_accumulators_that_could_overflow_are_refused() -> None:
    k = 70_000
    with pytest.raises(UnsupportedError, match=f"{k} channels"):
        integer_product(np.full((1, k), 255, np.uint8), np.full((k, 1), 127, np.int8))


@given(st.lists(st.floats(-30, 30), min_size=2, max_size=40))
def test_the_context_product_never_saturates(scores: list[float]) -> None:
    """Two rounded probabilities of one row add up to at most 256 steps."""
    from compiler.integer.float_ops import softmax
    from compiler.integer.layers import PROBABILITIES, to_integers

    steps = to_integers(softmax(np.array([scores], np.float32)), PROBABILITIES)
    assert np.sort(steps.astype(int)[0])[-2:].sum() <= 256
    for value in (-128, 127):
        assert not excess(steps, np.full((len(scores), 1), value, np.int8)).any()
