"""How far two models' predictions lie apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.validate import distance
from tests.support.evaluation import evaluator_of

LABELS = ("bad", "good")
ROWS = [{"text": "a good film", "label": "good"}, {"text": "a bad film", "label": "bad"}] * 4


def logits(*rows: tuple[float, float]) -> dict[str, np.ndarray]:
    return {"logits": np.array(rows * 4, np.float32)}


def test_by_hand(tmp_path: Path) -> None:
    """Of each two rows one changes its answer; the gaps are 0, 1, 3 and 0."""
    evaluator = evaluator_of(tmp_path, "text-classification", ROWS, LABELS)
    expected, found = logits((1.0, 2.0), (4.0, 3.0)), logits((1.0, 1.0 + 2.0), (1.0, 3.0))
    assert distance(evaluator, expected, found) == {
        "agreement": 0.5,
        "max_abs": 3.0,
        "mse": pytest.approx((0 + 1 + 9 + 0) / 4),
    }
    assert distance(evaluator, found, expected) == distance(evaluator, expected, found)
    assert distance(evaluator, found, found) == {"agreement": 1.0, "max_abs": 0.0, "mse": 0.0}


def test_differences_are_taken_in_double_precision(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path, "text-classification", ROWS, LABELS)
    large = np.float32(3e38)
    apart = distance(evaluator, logits((large, 0.0), (large, 0.0)), logits((-large, 0.0), (large, 0.0)))
    assert apart["agreement"] == 0.5
    assert apart["max_abs"] == 2 * float(large)
    assert apart["mse"] == pytest.approx(float(large) ** 2)


def test_answers_are_no_numbers(tmp_path: Path) -> None:
    answers = {"text": ["anna"], "answer_start": [0]}
    row = {"question": "who ?", "context": "anna wrote it", "answers": answers}
    evaluator = evaluator_of(tmp_path, "question-answering", [row] * 8, ())
    one = {"spans": np.array([[0, 4]] * 8, np.int32)}
    other = {"spans": np.array([[0, 4]] * 6 + [[0, 5]] * 2, np.int32)}
    assert distance(evaluator, one, other) == {"agreement": 0.75, "max_abs": None, "mse": None}
