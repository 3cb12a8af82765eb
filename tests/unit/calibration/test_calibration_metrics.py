"""Metrics against values worked out by hand, and against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from calibration import (
    accuracy,
    agreement,
    confusion_matrix,
    cosine,
    dense_ranks,
    exact_match,
    f1_macro,
    matthews,
    multilabel_f1,
    overlap_at_k,
    pearson,
    ranks,
    spearman,
)
from targets.errors import InternalError, UsageError

Ids = NDArray[np.int64]
IDS = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*(hnp.arrays(np.int64, n, elements=st.integers(0, 3)) for _ in range(2)))
)


def test_accuracy_and_agreement() -> None:
    assert accuracy([1, 0, 2, 2], [1, 1, 2, 2]) == 0.75
    assert agreement(["a", "b"], ["a", "c"]) == 0.5
    assert agreement(np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 5]])) == 0.5
    assert agreement([(0, 1), (2, 3)], [(0, 1), (2, 3)]) == 1.0


def test_confusion_matrix_has_gold_in_rows() -> None:
    assert confusion_matrix([0, 1, 1, 2], [0, 0, 1, 1]).tolist() == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


@given(IDS)
def test_f1_macro_by_definition(pair: tuple[Ids, Ids]) -> None:
    said, gold = pair
    scores = []
    for label in sorted({*said.tolist(), *gold.tolist()}):
        hits = np.sum((said == label) & (gold == label))
        precision = hits / max(np.sum(said == label), 1)
        recall = hits / max(np.sum(gold == label), 1)
        scores.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    assert f1_macro(said, gold) == pytest.approx(np.mean(scores))


@given(IDS)
def test_matthews_of_two_classes_is_the_phi_coefficient(pair: tuple[Ids, Ids]) -> None:
    said, gold = pair[0] % 2, pair[1] % 2
    assert matthews(said, gold) == pytest.approx(pearson(said, gold), abs=1e-9)
    assert matthews(said, gold) == pytest.approx(matthews(gold, said), abs=1e-9)


def test_matthews_of_three_classes() -> None:
    assert matthews([0, 1, 2, 0], [0, 1, 2, 0]) == pytest.approx(1.0)
    # R_k by hand: 5 of 6 right, said (2, 2, 2) times, true (1, 2, 3) times.
    expected = (5 * 6 - (2 * 1 + 2 * 2 + 2 * 3)) / np.sqrt((36 - 12) * (36 - 14))
    assert matthews([0, 0, 1, 1, 2, 2], [0, 2, 1, 1, 2, 2]) == pytest.approx(expected)
    assert matthews([0, 0, 0], [0, 0, 0]) == 0.0


def test_correlations() -> None:
    assert pearson([1, 2, 3, 4], [2, 4, 6, 8]) == pytest.approx(1.0)
    assert pearson([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)
    assert pearson([1, 1, 1], [1, 2, 3]) == 0.0
    assert pearson([1e-200, 2e-200, 4e-200], [1e200, 2e200, 4e200]) == pytest.approx(1.0)
    assert spearman([1, 2, 3, 4], [1, 8, 27, 64]) == pytest.approx(1.0)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1.0)
    # Ranks (1.5, 1.5, 3, 4) against (1, 2, 3, 4).
    assert spearman([0, 0, 5, 9], [1, 2, 3, 4]) == pytest.approx(4.5 / np.sqrt(4.5 * 5.0))


@given(hnp.arrays(np.float64, st.integers(1, 30), elements=st.integers(-4, 4).map(float)))
def test_ranks_by_definition(values: NDArray[np.float64]) -> None:
    expected = [np.sum(values < value) + (np.sum(values == value) + 1) / 2 for value in values]
    assert ranks(values).tolist() == expected
    assert ranks(dense_ranks(values)).tolist() == expected
    assert ranks(values.astype(np.int64)).tolist() == expected


def test_multilabel() -> None:
    said = [[1, 0, 0], [1, 1, 0], [0, 0, 0]]
    gold = [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert multilabel_f1(said, gold, "micro") == pytest.approx(2 * 2 / (3 + 3))
    assert multilabel_f1(said, gold, "macro") == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert exact_match(said, gold) == pytest.approx(1 / 3)


def test_cosine() -> None:
    a = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [2.0, 2.0]])
    b = np.array([[0.0, 2.0], [3.0, 3.0], [0.0, 0.0], [1.0, 0.0], [-1.0, -1.0]])
    assert np.allclose(cosine(a, b), [0.0, 1.0, 1.0, 0.0, -1.0])


def test_overlap_counts_common_neighbours() -> None:
    baseline = np.array([[np.cos(t), np.sin(t)] for t in (0.0, 0.1, 0.3, 1.0, 1.4)])
    compiled = np.array([[np.cos(t), np.sin(t)] for t in (0.0, 0.3, 0.1, 1.0, 1.4)])
    assert overlap_at_k(baseline, baseline, 2).tolist() == [1.0] * 5
    assert overlap_at_k(compiled, baseline, 1).tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert overlap_at_k(compiled, baseline, 10).tolist() == [1.0] * 5


def test_overlap_by_definition_over_several_chunks() -> None:
    rng = np.random.default_rng(0)
    baseline = rng.standard_normal((1500, 8))
    compiled = baseline + 0.2 * rng.standard_normal(baseline.shape)
    overlap = overlap_at_k(compiled, baseline, 10)

    def nearest(x: NDArray[np.float64], row: int) -> set[int]:
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        order = [int(i) for i in np.argsort(-(unit @ unit[row])) if i != row]
        return set(order[:10])

    for row in (0, 7, 1023, 1024, 1499):
        assert overlap[row] == pytest.approx(len(nearest(compiled, row) & nearest(baseline, row)) / 10)


def test_duplicated_texts_are_no_change_of_neighbours() -> None:
    baseline = np.repeat(np.eye(3), 4, axis=0)
    compiled = baseline[:, ::-1]
    assert overlap_at_k(compiled, baseline, 2).tolist() == [1.0] * 12


@pytest.mark.parametrize("metric", [accuracy, f1_macro, matthews, pearson, spearman])
def test_no_rows_and_unequal_rows(metric: type) -> None:
    with pytest.raises(UsageError, match="no rows"):
        metric([], [])
    with pytest.raises(InternalError):
        metric([1, 2], [1])


def test_no_rows_elsewhere() -> None:
    for a, b in itertools.pairwise([[], [], [1]]):
        with pytest.raises((UsageError, InternalError)):
            agreement(a, b)
    with pytest.raises(UsageError, match="two texts"):
        overlap_at_k(np.ones((1, 2)), np.ones((1, 2)))
