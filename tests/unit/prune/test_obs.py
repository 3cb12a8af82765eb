"""OBS paths against direct solutions."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.prune.obs import Matrix, compensated, damped, obs_path


def problem(rows: int, outputs: int, seed: int) -> tuple[Matrix, Matrix]:
    """A Hessian of correlated inputs, and weights."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(4 * rows, rows)) @ (np.eye(rows) + 0.5 * rng.normal(size=(rows, rows)))
    return damped(inputs.T @ inputs), rng.normal(size=(rows, outputs))


def solved(hessian: Matrix, weight: Matrix, rows: NDArray[np.intp]) -> tuple[Matrix, float]:
    """The best weights of some rows alone, and their loss."""
    best = np.linalg.solve(hessian[np.ix_(rows, rows)], hessian[rows] @ weight)
    gap = weight.copy()
    gap[rows] -= best
    return best, float(np.sum(gap * (hessian @ gap)))


@given(st.integers(2, 6), st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_every_snapshot_is_the_best_of_its_rows(groups: int, size: int, step: int, seed: int) -> None:
    hessian, weight = problem(groups * size, 3, seed)
    levels = range(groups, -1, -1)
    snapshots = list(obs_path(hessian, weight, levels, group_size=size, step=step))
    assert [len(each.kept) for each in snapshots] == list(levels)
    for each in snapshots:
        rows = (each.kept[:, None] * size + np.arange(size)).ravel()
        best, loss = solved(hessian, weight, rows)
        np.testing.assert_allclose(compensated(hessian, weight, rows), best, atol=1e-8)
        assert each.error == pytest.approx(loss, rel=1e-7, abs=1e-9)
    errors = [each.error for each in snapshots]
    assert errors == sorted(errors)


@given(st.integers(2, 6), st.integers(1, 3), st.integers(0, 99))
def test_the_first_group_is_the_one_that_costs_least(groups: int, size: int, seed: int) -> None:
    hessian, weight = problem(groups * size, 2, seed)
    (found,) = obs_path(hessian, weight, [groups - 1], group_size=size)
    losses = []
    for kept in combinations(range(groups), groups - 1):
        rows = (np.array(kept)[:, None] * size + np.arange(size)).ravel()
        losses.append(solved(hessian, weight, rows)[1])
    assert found.error == pytest.approx(min(losses), rel=1e-7)


def test_nothing_removed_is_nothing_changed() -> None:
    hessian, weight = problem(8, 3, 0)
    (same,) = obs_path(hessian, weight, [4], group_size=2)
    np.testing.assert_array_equal(compensated(hessian, weight, np.arange(8)), weight)
    assert same.kept.tolist() == [0, 1, 2, 3]
    assert same.error == 0.0


def test_a_copy_of_another_row_is_free() -> None:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(64, 5))
    inputs[:, 3] = inputs[:, 1]
    weight = rng.normal(size=(5, 2))
    hessian = damped(inputs.T @ inputs, 1e-9)
    (found,) = obs_path(hessian, weight, [4])
    assert set(range(5)) - set(found.kept.tolist()) <= {1, 3}
    gap = inputs @ weight - inputs[:, found.kept] @ compensated(hessian, weight, found.kept)
    assert np.max(np.abs(gap)) < 1e-6


def test_channels_that_never_fire_go_first() -> None:
    hessian = damped(np.diag([1.0, 0.0, 2.0, 0.0]))
    (found,) = obs_path(hessian, np.ones((4, 2)), [2])
    assert found.kept.tolist() == [0, 2]


def test_inputs_that_are_all_zero() -> None:
    np.testing.assert_array_equal(damped(np.zeros((2, 2))), np.eye(2))


@pytest.mark.parametrize(("levels", "size"), [([5], 2), ([4, 4], 1), ([3, 4], 1), ([-1], 1), ([1], 3)])
def test_levels_that_cannot_be(levels: list[int], size: int) -> None:
    hessian, weight = problem(8, 1, 0)
    with pytest.raises(ValueError, match="no levels"):
        list(obs_path(hessian, weight, levels, group_size=size))
