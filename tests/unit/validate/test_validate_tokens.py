from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import Example
from compiler.validate.tokens import split_words, word_labels
from targets.errors import UsageError
from targets.runtime.tasks import TokenLabels
from tests.support.evaluation import evaluator_of, predicted
from tests.support.tiny_runtime import RUNTIMES, table

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
ROWS: list[dict[str, Any]] = [
    {"tokens": ["Anna", "Silva", "was", "in", "Berlin", "."], "ner_tags": [1, 2, 0, 0, 3, 0]},
    {"tokens": ["New", "York", "was", "good"], "ner_tags": [3, 4, 0, 0]},
    {"tokens": ["who", "was", "it", "?"], "ner_tags": [0, 0, 0, 0]},
]
RIGHT = {
    "anna": [0.0, 9, 0, 0, 0],
    "an": [0.0, 9, 0, 0, 0],
    "silva": [0.0, 0, 9, 0, 0],
    "berlin": [0.0, 0, 0, 9, 0],
    "ber": [0.0, 0, 0, 9, 0],
    "new": [0.0, 0, 0, 9, 0],
    "york": [0.0, 0, 0, 0, 9],
}


def outside_else(rows: dict[str, list[float]]) -> Any:
    values = table(5, rows)
    values[:, 0] += 1
    return values


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_entities_of_words(tmp_path: Path, runtime: str) -> None:
    evaluator = evaluator_of(tmp_path, "token-classification", ROWS, LABELS)
    assert evaluator.items[0] == "Anna Silva was in Berlin ."
    assert (evaluator.metric, evaluator.n, evaluator.labelled) == ("entity_f1", 3, True)
    baseline = predicted(evaluator, outside_else(RIGHT), LABELS, runtime=runtime)
    assert evaluator.metrics(baseline) == {"entity_f1": 1.0, "accuracy": 1.0}
    worse = predicted(evaluator, outside_else({**RIGHT, "silva": [0] * 5}), LABELS, runtime=runtime)
    found = evaluator.compare(baseline, worse, max_drop=0.01)
    assert found.compiled == pytest.approx(2 * 2 / 6)
    assert found.agreement == pytest.approx(13 / 14)
    assert found.status == "failed"
    assert found.metrics["compiled"]["accuracy"] == pytest.approx(13 / 14)


def test_words_that_were_cut_off_are_outside(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path, "token-classification", ROWS, LABELS)
    cut = predicted(evaluator, outside_else(RIGHT), LABELS, max_length=5)
    assert cut["labels"].tolist() == [1, 2, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0, 0, 0]
    assert cut["lengths"].tolist() == [6, 4, 4]
    assert evaluator.metrics(cut)["entity_f1"] == pytest.approx(2 * 2 / 5)


def test_words_without_a_label_for_outside(tmp_path: Path) -> None:
    labels = ("PER", "LOC")
    rows = [{"tokens": ["Anna", "Bers", "Maria", "Anna"], "tags": ["PER", "LOC", "PER", "PER"]}]
    evaluator = evaluator_of(tmp_path, "token-classification", rows, labels)
    values = table(2, {name: [9.0, 0] for name in ("anna", "maria")} | {"ber": [0.0, 9]})
    whole = predicted(evaluator, values, labels)
    assert whole["labels"].tolist() == [0, 1, 0, 0]
    assert evaluator.metrics(whole) == {"entity_f1": 1.0, "accuracy": 1.0}
    cut = predicted(evaluator, values, labels, max_length=6)  # the word of two tokens makes six of them
    assert cut["labels"].tolist() == [0, 1, 0, -1]
    assert evaluator.fits(cut)
    assert evaluator.metrics(cut)["accuracy"] == 3 / 4


def test_ignored_words_are_not_scored(tmp_path: Path) -> None:
    rows = [{"tokens": ["Anna", "Silva", "Berlin"], "ner_tags": [1, -100, 3]}]
    evaluator = evaluator_of(tmp_path, "token-classification", rows, LABELS)
    worse = predicted(evaluator, outside_else({**RIGHT, "silva": [0, 0, 0, 9, 0]}), LABELS)
    assert evaluator.metrics(worse) == {"entity_f1": 1.0, "accuracy": 1.0}


def test_plain_text_and_tokens_without_tags(tmp_path: Path) -> None:
    plain = [{"text": " ".join(row["tokens"]) + " \t"} for row in ROWS]
    for rows in (plain, [{"tokens": row["tokens"]} for row in ROWS]):
        evaluator = evaluator_of(tmp_path, "token-classification", rows, LABELS)
        assert (evaluator.metric, evaluator.labelled) == ("agreement", False)
        baseline = predicted(evaluator, outside_else(RIGHT), LABELS)
        assert baseline["lengths"].tolist() == [6, 4, 4]
        worse = predicted(evaluator, outside_else({**RIGHT, "silva": [0] * 5}), LABELS)
        found = evaluator.compare(baseline, worse, max_drop=0.01)
        assert (found.baseline, found.status) == (1.0, "failed")
        assert found.compiled == pytest.approx(13 / 14)
        assert evaluator.compare(baseline, baseline, max_drop=0.0).ci95 == (0.0, 0.0)


def test_underscores_in_label_names(tmp_path: Path) -> None:
    labels = ("O", "B_PER", "I_PER")
    rows = [{"tokens": ["Anna", "Silva", "Maria"], "tags": ["B_PER", "I_PER", "B_PER"]}]
    evaluator = evaluator_of(tmp_path, "token-classification", rows, labels)
    joined = {"labels": np.array([1, 2, 2], dtype=np.int32), "lengths": np.array([3])}
    assert evaluator.metrics(joined)["entity_f1"] == 0.0


def test_a_tag_that_the_model_has_not(tmp_path: Path) -> None:
    rows = [*ROWS, {"tokens": ["film"], "ner_tags": [7]}]
    with pytest.raises(UsageError, match="row 4"):
        evaluator_of(tmp_path, "token-classification", rows, LABELS)


def test_predictions_that_do_not_fit(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path, "token-classification", ROWS, LABELS)
    lengths = np.array([6, 4, 4])
    assert evaluator.fits({"labels": np.zeros(14, dtype=np.int32), "lengths": lengths})
    assert not evaluator.fits({"labels": np.full(14, 5, dtype=np.int32), "lengths": lengths})
    assert not evaluator.fits({"labels": np.zeros(14, dtype=np.int32), "lengths": lengths[::-1]})
    assert not evaluator.fits({"labels": np.zeros(14, dtype=np.int32)})
    assert not evaluator.fits({"labels": np.zeros(13, dtype=np.int32), "lengths": lengths})


WORDS = st.lists(st.text(alphabet="ab", max_size=4), max_size=6)


@given(WORDS)
def test_spans_are_the_words(words: list[str]) -> None:
    text, spans = split_words(Example(text="", tokens=tuple(words)))
    assert [text[start:end] for start, end in spans] == words
    text, spans = split_words(Example(text="  ".join(words)))
    assert [text[start:end] for start, end in spans] == [word for word in words if word]


@given(WORDS, st.data())
def test_a_word_has_the_label_of_its_first_token(words: list[str], data: st.DataObject) -> None:
    text, spans = split_words(Example(text="", tokens=tuple(words)))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))) | {0, len(text)})
    tokens = [(a, b) for a, b in pairwise(cuts) if data.draw(st.booleans())]
    ids = np.arange(len(tokens), dtype=np.int64)
    found = word_labels(TokenLabels(ids, np.ones(len(tokens)), tuple(tokens)), spans, -1)
    for label, (start, end) in zip(found, spans, strict=True):
        overlapping = [i for i, (a, b) in enumerate(tokens) if max(a, start) < min(b, end)]
        assert label == (overlapping[0] if overlapping else -1)
