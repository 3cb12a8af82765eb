"""Refits against least squares."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.prune.moments import Matrix, Moments
from compiler.prune.refit import MAX_GROWTH, refit, ridge_towards


def rows_of(seed: int, rows: int = 60, inputs: int = 4) -> tuple[Matrix, Matrix]:
    """Inputs, and what a linear layer with a bias and noise makes of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, inputs))
    true = np.linspace(-1.0, 1.0, inputs * 3).reshape(inputs, 3)
    return x, x @ true + [0.5, -0.5, 2.0] + 0.1 * rng.normal(size=(rows, 3))


def moments_of(x: Matrix, y: Matrix, *, cut: int = 0) -> Moments:
    found = Moments(x.shape[1], y.shape[1])
    found.add(x[:cut], y[:cut])
    found.add(x[cut:], y[cut:])
    return found


@given(st.integers(0, 50), st.integers(0, 60))
def test_moments_know_the_error_of_any_weights(seed: int, cut: int) -> None:
    x, y = rows_of(seed)
    weight = np.random.default_rng(seed).normal(size=(5, 3))
    direct = float(np.sum((x @ weight[:-1] + weight[-1] - y) ** 2))
    assert moments_of(x, y, cut=cut).error(weight) == pytest.approx(direct, rel=1e-9)


def test_almost_no_ridge_is_least_squares() -> None:
    x, y = rows_of(0)
    prior = np.zeros((5, 3))
    wanted = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)[0]
    np.testing.assert_allclose(ridge_towards(moments_of(x, y), prior, 1e-12), wanted, atol=1e-8)


def test_a_strong_ridge_keeps_the_prior_and_sets_the_bias() -> None:
    x, y = rows_of(1)
    prior = np.random.default_rng(1).normal(size=(5, 3))
    found = ridge_towards(moments_of(x, y), prior, 1e9)
    np.testing.assert_allclose(found[:-1], prior[:-1], atol=1e-6)
    np.testing.assert_allclose(found[-1], np.mean(y - x @ prior[:-1], axis=0), atol=1e-6)


@given(st.integers(0, 50), st.floats(0.0, 3.0))
def test_never_worse_on_held_out_rows(seed: int, distance: float) -> None:
    fit, held_out = moments_of(*rows_of(seed)), moments_of(*rows_of(seed + 1000))
    prior = ridge_towards(fit, np.zeros((5, 3)), 1e-6)
    prior = prior + distance * np.random.default_rng(seed).normal(size=prior.shape)
    found = refit(fit, held_out, prior)
    assert found.after <= found.before
    assert found.after == pytest.approx(held_out.error(found.weight) / held_out.power, rel=1e-9, abs=1e-12)
    assert (found.ridge is None) == (found.after == found.before)
    assert np.max(np.abs(found.weight[:-1])) <= MAX_GROWTH * np.max(np.abs(prior[:-1])) + 1e-12


def test_weights_that_would_grow_too_large_are_refused() -> None:
    fit, held_out = moments_of(*rows_of(0)), moments_of(*rows_of(7))
    prior = np.full((5, 3), 1e-3)
    found = refit(fit, held_out, prior, ridges=(1e-6,))
    assert found.ridge is None
    np.testing.assert_array_equal(found.weight, prior)


def test_a_product_without_inputs_has_its_bias() -> None:
    fit = Moments(0, 2)
    fit.add(np.zeros((4, 0)), np.array([[1.0, 3.0]] * 4))
    found = refit(fit, fit, np.zeros((1, 2)))
    np.testing.assert_allclose(found.weight, [[1.0, 3.0]])
