"""The paired bootstrap: reproducible, paired, of the right width, and right about as often as it says."""

from __future__ import annotations

import numpy as np
import pytest

from calibration import Interval, dense_ranks, paired_bootstrap, paired_bootstrap_metric, spearman
from targets.errors import InternalError, UsageError


def test_equal_models_differ_by_nothing() -> None:
    scores = np.random.default_rng(0).random(50)
    assert paired_bootstrap(scores, scores) == Interval(0.0, 0.0, 0.0, 0.95, 50)


def test_the_rows_are_paired() -> None:
    scores = 100.0 * np.random.default_rng(0).random(50)
    interval = paired_bootstrap(scores, scores + 1.0)
    assert interval.low == pytest.approx(1.0)
    assert interval.high == pytest.approx(1.0)


@pytest.mark.parametrize("few_values", [True, False])
def test_the_interval_is_as_wide_as_the_standard_error_says(few_values: bool) -> None:
    rng = np.random.default_rng(1)
    n = 2000
    change = (
        rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.85, 0.05], size=n) if few_values else rng.normal(0.1, 1.0, n)
    )
    interval = paired_bootstrap(np.zeros(n), change, n_resamples=4000)
    error = change.std() / np.sqrt(n)
    assert interval.delta == pytest.approx(change.mean())
    assert interval.low == pytest.approx(change.mean() - 1.96 * error, abs=0.15 * error)
    assert interval.high == pytest.approx(change.mean() + 1.96 * error, abs=0.15 * error)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    holds = 0
    for seed in range(200):
        change = rng.choice([-1.0, 0.0, 1.0], p=[0.1, 0.8, 0.1], size=300)
        interval = paired_bootstrap(np.zeros(300), change, n_resamples=500, confidence=0.9, seed=seed)
        holds += interval.low <= 0.0 <= interval.high
    assert 0.82 <= holds / 200 <= 0.97


def test_a_mean_by_callable_agrees_with_a_mean_by_rows() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random(400), rng.random(400)
    direct = paired_bootstrap(a, b, seed=5)
    called = paired_bootstrap_metric(lambda i: float(a[i].mean()), lambda i: float(b[i].mean()), 400, seed=5)
    assert called.delta == pytest.approx(direct.delta)
    assert called.low == pytest.approx(direct.low)
    assert called.high == pytest.approx(direct.high)


def test_a_correlation() -> None:
    rng = np.random.default_rng(4)
    gold = rng.random(300)
    baseline, compiled = gold + 0.1 * rng.random(300), gold + 1.0 * rng.random(300)
    g, a, b = dense_ranks(gold), dense_ranks(baseline), dense_ranks(compiled)
    interval = paired_bootstrap_metric(
        lambda i: spearman(a[i], g[i]), lambda i: spearman(b[i], g[i]), 300, n_resamples=300
    )
    assert interval.delta == pytest.approx(spearman(compiled, gold) - spearman(baseline, gold))
    assert interval.low < interval.delta < interval.high < 0.0


@pytest.mark.parametrize("few_values", [True, False])
def test_the_seed_decides(few_values: bool) -> None:
    rng = np.random.default_rng(6)
    a, b = rng.random((2, 200)).round(0 if few_values else 9)
    assert paired_bootstrap(a, b, seed=1) == paired_bootstrap(a, b, seed=1)
    assert paired_bootstrap(a, b, seed=1) != paired_bootstrap(a, b, seed=2)


def test_booleans_and_one_row() -> None:
    assert paired_bootstrap([True, True], [True, False]).delta == -0.5
    assert paired_bootstrap([1.0], [0.0]) == Interval(-1.0, -1.0, -1.0, 0.95, 1)


def test_misuse() -> None:
    with pytest.raises(UsageError, match="no rows"):
        paired_bootstrap([], [])
    with pytest.raises(InternalError):
        paired_bootstrap([1.0], [1.0, 2.0])
    with pytest.raises(InternalError):
        paired_bootstrap([1.0], [1.0], confidence=1.0)
    with pytest.raises(UsageError, match="no rows"):
        paired_bootstrap_metric(len, len, 0)
