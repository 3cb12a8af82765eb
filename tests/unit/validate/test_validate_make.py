from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibration import open_dataset
from compiler.validate import load_predictions, make, make_evaluator, save_predictions
from targets.bundle.schema import TaskConfig
from targets.errors import UnsupportedError, UsageError
from targets.spec import TASKS
from tests.support.data import rows_for, write_rows
from tests.support.evaluation import evaluator_of, predicted
from tests.support.models import NER_LABELS
from tests.support.tiny_runtime import encoder, table, wordpiece

LABELS = ("negative", "positive")
ROWS = rows_for("text-classification", 40)


def test_labels_are_names_or_ids_and_the_digest_is_the_same(tmp_path: Path) -> None:
    by_id = evaluator_of(tmp_path, "text-classification", ROWS, LABELS)
    named = [{**row, "label": LABELS[row["label"]]} for row in ROWS]
    by_name = evaluator_of(tmp_path, "text-classification", named, LABELS)
    assert by_id.digest == by_name.digest
    assert len(by_id.digest) == 64


def test_the_digest_is_that_of_texts_and_labels(tmp_path: Path) -> None:
    flipped = [{**ROWS[0], "label": 1 - ROWS[0]["label"]}, *ROWS[1:]]
    texts = [{**ROWS[0], "text": "other"}, *ROWS[1:]]
    variants = [ROWS, flipped, texts, ROWS[1:], [{"text": row["text"]} for row in ROWS]]
    digests = {evaluator_of(tmp_path, "text-classification", rows, LABELS).digest for rows in variants}
    assert len(digests) == len(variants)


@pytest.mark.parametrize(
    ("label", "message"),
    [("neutral", "row 3"), (7, "row 3"), (-1, "withheld|row 3"), (None, "row 3: no label")],
)
def test_a_label_that_the_model_has_not(tmp_path: Path, label: Any, message: str) -> None:
    rows = [*ROWS[:2], {**ROWS[2], "label": label}, *ROWS[3:]]
    with pytest.raises(UsageError, match=message):
        evaluator_of(tmp_path, "text-classification", rows, LABELS)


@pytest.mark.parametrize("empty", [None, ""])
def test_a_column_of_empty_labels_is_no_label(tmp_path: Path, empty: Any) -> None:
    rows = [{**row, "label": empty} for row in ROWS]
    assert not evaluator_of(tmp_path, "text-classification", rows, LABELS).labelled


def test_a_limit_draws_the_same_rows_for_a_seed(tmp_path: Path) -> None:
    few = evaluator_of(tmp_path, "text-classification", ROWS, LABELS, limit=10)
    again = evaluator_of(tmp_path, "text-classification", ROWS, LABELS, limit=10)
    other = evaluator_of(tmp_path, "text-classification", ROWS, LABELS, limit=10, seed=1)
    assert few.n == 10
    assert few.digest == again.digest != other.digest
    whole = evaluator_of(tmp_path, "text-classification", ROWS, LABELS, limit=1000)
    assert whole.digest == evaluator_of(tmp_path, "text-classification", ROWS, LABELS).digest


def test_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="0 evaluation samples"):
        evaluator_of(tmp_path, "text-classification", ROWS, LABELS, limit=0)
    monkeypatch.setattr(make, "MAX_TEXTS", 30)
    for limit in (None, 35):
        with pytest.raises(UsageError, match="more than 30 texts"):
            evaluator_of(tmp_path, "text-classification", ROWS, LABELS, limit=limit)
    pairs = rows_for("feature-extraction", 20)
    with pytest.raises(UsageError, match="more than 30 texts"):
        evaluator_of(tmp_path, "feature-extraction", pairs)


def test_an_unknown_task(tmp_path: Path) -> None:
    dataset = open_dataset(write_rows(tmp_path / "rows.jsonl", ROWS), "text-classification")
    with pytest.raises(UnsupportedError, match="translation"):
        make_evaluator(dataset, "translation", TaskConfig(), encoder())


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("labelled", [True, False])
def test_predictions_survive_a_file(tmp_path: Path, task: str, labelled: bool) -> None:
    rows = rows_for(task, 12)
    drop = set() if labelled else {"label", "score", "ner_tags", "answers"}
    rows = [{name: value for name, value in row.items() if name not in drop} for row in rows]
    labels = {"text-classification": LABELS, "token-classification": NER_LABELS}.get(task, ())
    evaluator = evaluator_of(tmp_path, task, rows, labels)
    width = {"question-answering": 2, "feature-extraction": 4, "fill-mask": len(wordpiece().get_vocab())}
    values = table(width.get(task, len(labels)))
    baseline = predicted(evaluator, values, labels)
    compiled = predicted(evaluator, values + 0.5 * table(values.shape[1], seed=1), labels)
    stored = save_predictions(evaluator.digest, baseline)
    loaded = load_predictions(stored, evaluator.digest)
    assert loaded is not None
    found = evaluator.compare(loaded, compiled, max_drop=0.01)
    assert found == evaluator.compare(baseline, compiled, max_drop=0.01)
    record = found.to_json()
    assert record["metric"] == evaluator.metric
    assert record["delta"] == pytest.approx(record["compiled"] - record["baseline"], abs=2e-6)
    assert record["ci95"][0] <= record["delta"] + 1e-6
    assert record["ci95"][1] >= record["delta"] - 1e-6
    assert record["metrics"]["compiled"][record["metric"]] == record["compiled"]
    assert all(np.isfinite(value) for value in record["metrics"]["compiled"].values())
    assert evaluator.compare(loaded, baseline, max_drop=0.0).status == "passed"
