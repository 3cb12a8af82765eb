"""Exact match and F1 of answers, by SQuAD's rules."""

from __future__ import annotations

import pytest

from calibration import answer_scores, normalize_answer, squad_em_f1
from targets.errors import InternalError, UsageError


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The  Eiffel\tTower!", "eiffel tower"),
        ("a cat, an owl & the dog", "cat owl dog"),
        ("theatre", "theatre"),
        ("It's", "its"),
        ("the", ""),
        ("\u00c9t\u00e9 \u201cx\u201d", "\u00e9t\u00e9 \u201cx\u201d"),
    ],
)
def test_normalization(text: str, normal: str) -> None:
    assert normalize_answer(text) == normal


@pytest.mark.parametrize(
    ("said", "golds", "em", "f1"),
    [
        ("the Tower", ["Tower."], 1.0, 1.0),
        ("Eiffel Tower in Paris", ["Paris", "the Eiffel Tower"], 0.0, 2 * 2 / (4 + 2)),
        ("to be or not to be", ["to be"], 0.0, 2 * 2 / (6 + 2)),
        ("Rome", ["Paris"], 0.0, 0.0),
        ("", [], 1.0, 1.0),
        ("Rome", [], 0.0, 0.0),
        ("", ["Paris"], 0.0, 0.0),
        ("the", ["a"], 1.0, 1.0),
        ("Paris", ["the", "Paris"], 1.0, 1.0),
    ],
)
def test_scores(said: str, golds: list[str], em: float, f1: float) -> None:
    assert answer_scores([said], [golds]).tolist() == [[em, pytest.approx(f1)]]


def test_means_are_fractions() -> None:
    em, f1 = squad_em_f1(["a cat", "dog run"], [["cat"], ["dog"]])
    assert em == 0.5
    assert f1 == pytest.approx((1 + 2 / 3) / 2)


def test_misuse() -> None:
    with pytest.raises(UsageError, match="no rows"):
        squad_em_f1([], [])
    with pytest.raises(InternalError):
        answer_scores(["a"], [])
