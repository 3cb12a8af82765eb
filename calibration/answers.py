"""Exact match and token F1 of extracted answers, by the rules of SQuAD 1.1 and 2.0 (Rajpurkar 2016, 2018)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from targets.errors import InternalError, UsageError

_ARTICLES: Final = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION: Final = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Lower case, ASCII punctuation and English articles removed, blanks collapsed."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def answer_scores(predictions: Sequence[str], golds: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Best exact match and best F1 over each question's accepted answers.

    Args:
        predictions: one answer per question; "" says that the context holds none.
        golds: accepted answers per question; none means that the context holds none.

    Returns:
        float64 [questions, 2]: exact match (0 or 1) and F1.
    """
    if len(predictions) != len(golds):
        raise InternalError(f"{len(predictions)} answers to {len(golds)} questions", "report this")
    scores = [_best(prediction, gold) for prediction, gold in zip(predictions, golds, strict=True)]
    return np.array(scores, dtype=np.float64).reshape(-1, 2)


def squad_em_f1(predictions: Sequence[str], golds: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Mean exact match and mean F1, as fractions.

    Raises:
        UsageError: no questions.
    """
    scores = answer_scores(predictions, golds)
    if not len(scores):
        raise UsageError("no rows to evaluate", "give evaluation data with at least one row")
    em, f1 = scores.mean(axis=0)
    return float(em), float(f1)


def _best(prediction: str, golds: Sequence[str]) -> tuple[float, float]:
    said = normalize_answer(prediction)
    accepted = [gold for gold in map(normalize_answer, golds) if gold] or [""]
    return max(float(said == gold) for gold in accepted), max(_token_f1(said, gold) for gold in accepted)


def _token_f1(said: str, gold: str) -> float:
    a, b = said.split(), gold.split()
    if not a or not b:
        return float(a == b)
    shared = sum((Counter(a) & Counter(b)).values())
    return 2.0 * shared / (len(a) + len(b))
