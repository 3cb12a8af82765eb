from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from compiler.quantize.weights import quantize_columns, quantize_rows, round_to

NUMBERS = st.floats(-1e4, 1e4, width=32, allow_subnormal=False)
MATRICES = hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9), elements=NUMBERS)
QMAX = st.sampled_from((127, 64))


def squared(weight: NDArray[np.float32], dense: NDArray[np.float32]) -> NDArray[np.float64]:
    error: NDArray[np.float64] = (weight.astype(np.float64) - dense) ** 2
    return error


@given(MATRICES, QMAX)
def test_columns_have_a_scale_each_and_stay_in_range(weight: NDArray[np.float32], qmax: int) -> None:
    found = quantize_columns(weight, qmax=qmax)
    assert found.values.dtype == np.int8
    assert found.values.shape == weight.shape
    assert found.scale.dtype == np.float32
    assert (found.scale.shape, found.axis) == ((weight.shape[1],), 1)
    assert int(np.abs(found.values.astype(int)).max()) <= qmax
    assert (found.scale > 0).all()
    assert np.isfinite(found.dequantized()).all()


@given(MATRICES, QMAX)
def test_the_error_is_half_a_step_inside_the_clip_and_less_than_without_one(
    weight: NDArray[np.float32], qmax: int
) -> None:
    found = quantize_columns(weight, qmax=qmax)
    error = np.abs(weight.astype(np.float64) - found.dequantized())
    clip = found.scale.astype(np.float64) * qmax
    slack = 1e-6 * np.abs(weight).max(initial=0.0) + 1e-30
    inside = np.abs(weight) <= clip
    assert (
        error[inside] <= np.broadcast_to(found.scale / 2, weight.shape)[inside] * (1 + 1e-5) + slack
    ).all()
    widest = np.abs(weight).max(axis=0) / np.float32(qmax)
    plain = np.where(widest > np.finfo(np.float32).tiny, widest, 1).astype(np.float32)
    without = squared(weight, round_to(weight, plain, qmax) * plain).sum(axis=0)
    assert (squared(weight, found.dequantized()).sum(axis=0) <= without * (1 + 1e-4) + slack**2).all()


@given(MATRICES, QMAX, st.randoms())
def test_columns_do_not_see_each_other(weight: NDArray[np.float32], qmax: int, random: object) -> None:
    order = list(range(weight.shape[1]))
    random.shuffle(order)  # type: ignore[attr-defined]
    one, other = quantize_columns(weight, qmax=qmax), quantize_columns(weight[:, order], qmax=qmax)
    np.testing.assert_array_equal(one.values[:, order], other.values)
    np.testing.assert_array_equal(one.scale[order], other.scale)


@given(MATRICES)
def test_rows_of_a_table(table: NDArray[np.float32]) -> None:
    found = quantize_rows(table)
    assert (found.scale.shape, found.axis) == ((table.shape[0],), 0)
    error = np.abs(table.astype(np.float64) - found.dequantized())
    assert (error <= found.scale[:, None] * (0.5 + 1e-4)).all()
    largest = np.abs(table).max(axis=1)
    assert (np.abs(found.values.astype(int)).max(axis=1)[largest > 1e-30] == 127).all()


@pytest.mark.parametrize("qmax", [127, 64])
def test_zeros_and_tiny_columns(qmax: int) -> None:
    weight = np.zeros((4, 3), np.float32)
    weight[:, 1] = 1e-42
    weight[0, 2] = 3.0
    found = quantize_columns(weight, qmax=qmax)
    np.testing.assert_array_equal(found.values[:, :2], 0)
    assert found.values[0, 2] == qmax
    np.testing.assert_array_equal(found.dequantized()[:, :2], 0)


def test_many_rows_are_taken_in_parts() -> None:
    table = np.random.default_rng(0).standard_normal((4100, 2)).astype(np.float32)
    found = quantize_rows(table)
    np.testing.assert_array_equal(quantize_rows(table[4090:]).values, found.values[4090:])


def test_importance_moves_the_clip() -> None:
    rng = np.random.default_rng(1)
    weight = rng.standard_normal((64, 8)).astype(np.float32)
    weight[0] *= 6
    importance = np.full(64, 1.0)
    importance[0] = 1e-6
    free, plain = (
        quantize_columns(weight, qmax=127, importance=importance),
        quantize_columns(weight, qmax=127),
    )
    rest = squared(weight, free.dequantized())[1:].sum()
    assert rest < squared(weight, plain.dequantized())[1:].sum()
    heavy = importance.copy()
    heavy[0] = 1e6
    kept = quantize_columns(weight, qmax=127, importance=heavy)
    assert squared(weight, kept.dequantized())[0].sum() <= squared(weight, free.dequantized())[0].sum()


def test_inputs_that_are_always_zero_leave_the_full_range() -> None:
    weight = np.random.default_rng(2).standard_normal((6, 2)).astype(np.float32)
    found = quantize_columns(weight, qmax=127, importance=np.zeros(6))
    np.testing.assert_array_equal(np.abs(found.values).max(axis=0), 127)


def test_halves_round_to_even() -> None:
    weight = np.array([[0.5, 1.5, 2.5, -0.5, 300]], np.float32)
    np.testing.assert_array_equal(round_to(weight, np.ones(5, np.float32), 127), [[0, 2, 2, 0, 127]])
