from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.errors import AccuracyGateError, IntegrityError
from tests.support.evaluation import evaluator_of, predicted
from tests.support.tiny_runtime import RUNTIMES, table

LABELS = ("bad", "good")
ROWS = [
    {"text": "a good film", "label": "good"},
    {"text": "a bad film", "label": "bad"},
    {"text": "it was good", "label": "good"},
    {"text": "the film was bad", "label": "bad"},
    {"text": "was it good ?", "label": "bad"},
    {"text": "good , good !", "label": "good"},
    {"text": "bad", "label": "bad"},
    {"text": "good", "label": "good"},
]
RIGHT = {"good": [0.0, 9.0], "bad": [9.0, 0.0]}
WRONG = {"good": [9.0, 0.0], "bad": [9.0, 0.0]}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_accuracy_and_its_gate(tmp_path: Path, runtime: str) -> None:
    evaluator = evaluator_of(tmp_path, "text-classification", ROWS, LABELS)
    assert (evaluator.metric, evaluator.n, evaluator.labelled) == ("accuracy", 8, True)
    calls: list[tuple[int, int]] = []
    baseline = predicted(
        evaluator, table(2, RIGHT), LABELS, runtime=runtime, progress=lambda *call: calls.append(call)
    )
    assert calls[-1] == (8, 8)
    assert evaluator.metrics(baseline)["accuracy"] == 7 / 8
    worse = predicted(evaluator, table(2, WRONG), LABELS, runtime=runtime)
    found = evaluator.compare(baseline, worse, max_drop=0.01)
    assert found.status == "failed"
    assert (found.baseline, found.compiled, found.delta) == (7 / 8, 4 / 8, -3 / 8)
    assert found.agreement == 3 / 8
    assert found.ci95 is not None
    assert found.ci95[0] < -3 / 8 < found.ci95[1]
    assert set(found.metrics["compiled"]) == {"accuracy", "f1_macro", "matthews"}
    assert evaluator.compare(baseline, worse, max_drop=0.375).status == "passed"
    assert evaluator.compare(worse, baseline, max_drop=0.0).status == "passed"


def test_the_same_model_changes_nothing(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path, "text-classification", ROWS, LABELS)
    baseline = predicted(evaluator, table(2, RIGHT), LABELS)
    found = evaluator.compare(baseline, baseline, max_drop=0.0, evidence="emulated")
    assert (found.delta, found.ci95, found.agreement) == (0.0, (0.0, 0.0), 1.0)
    assert (found.status, found.evidence, found.n) == ("passed", "emulated", 8)


def test_without_labels_the_agreement_is_the_metric(tmp_path: Path) -> None:
    rows = [{"text": row["text"]} for row in ROWS]
    evaluator = evaluator_of(tmp_path, "text-classification", rows, LABELS)
    assert (evaluator.metric, evaluator.labelled) == ("agreement", False)
    baseline = predicted(evaluator, table(2, RIGHT), LABELS)
    worse = predicted(evaluator, table(2, WRONG), LABELS)
    assert evaluator.metrics(baseline) == {}
    found = evaluator.compare(baseline, worse, max_drop=0.5)
    assert (found.baseline, found.compiled, found.status) == (1.0, 3 / 8, "failed")
    assert found.metrics == {"baseline": {"agreement": 1.0}, "compiled": {"agreement": 3 / 8}}
    assert found.ci95 is not None
    assert found.ci95[0] < -5 / 8 < found.ci95[1]


def test_without_a_baseline_there_is_no_verdict(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path, "text-classification", ROWS, LABELS)
    found = evaluator.compare(None, predicted(evaluator, table(2, RIGHT), LABELS), max_drop=0.01)
    assert (found.status, found.compiled, found.baseline) == ("not-measured", 7 / 8, None)
    assert (found.delta, found.ci95, found.agreement, found.n) == (None, None, None, 8)
    assert found.reason


def test_one_label_of_text_pairs(tmp_path: Path) -> None:
    rows = [
        {"sentence1": row["text"], "sentence2": "a film", "label": LABELS.index(row["label"])} for row in ROWS
    ]
    evaluator = evaluator_of(tmp_path, "text-classification", rows, LABELS)
    assert evaluator.items[0] == ("a good film", "a film")
    assert evaluator.metrics(predicted(evaluator, table(2, RIGHT), LABELS))["accuracy"] == 7 / 8


def test_several_labels(tmp_path: Path) -> None:
    labels = ("film", "berlin", "york")
    rows: list[dict[str, Any]] = [
        {"text": "a film in berlin", "labels": ["film", "berlin"]},
        {"text": "new york", "labels": ["york"]},
        {"text": "was it ?", "labels": []},
        {"text": "film", "labels": ["berlin"]},
    ]
    kind = "multi_label_classification"
    evaluator = evaluator_of(tmp_path, "text-classification", rows, labels, problem_type=kind)
    assert evaluator.metric == "f1_micro"
    values = table(3, {"film": [9, 0, 0], "berlin": [0, 9, 0], "york": [0, 0, 9]}) - 0.1
    baseline = predicted(evaluator, values, labels, problem_type=kind)
    scores = evaluator.metrics(baseline)
    assert scores["f1_micro"] == pytest.approx(6 / 8)
    assert scores["exact_match"] == 3 / 4
    none = predicted(evaluator, table(3, {}) - 0.1, labels, problem_type=kind)
    found = evaluator.compare(baseline, none, max_drop=0.01)
    assert (found.compiled, found.status) == (0.0, "failed")
    assert found.agreement == pytest.approx(8 / 12)
    assert found.ci95 is not None
    assert found.ci95[0] <= -6 / 8 <= found.ci95[1]
    bare = [{"text": row["text"]} for row in rows]
    unlabelled = evaluator_of(tmp_path, "text-classification", bare, labels, problem_type=kind)
    found = unlabelled.compare(baseline, none, max_drop=0.01)
    assert (found.metric, found.baseline, found.status) == ("agreement", 1.0, "failed")
    assert found.compiled == pytest.approx(8 / 12)


def test_a_number(tmp_path: Path) -> None:
    rows = [
        {"text": " ".join(["good"] * good + ["bad"] * (6 - good)), "score": good + 0.1} for good in range(7)
    ]
    evaluator = evaluator_of(tmp_path, "text-classification", rows, ("LABEL_0",), problem_type="regression")
    baseline = predicted(evaluator, table(1, {"good": [1.0]}), ("LABEL_0",))
    assert evaluator.metric == "pearson"
    assert evaluator.metrics(baseline)["spearman"] == pytest.approx(1.0)
    turned = {"values": -baseline["values"]}
    found = evaluator.compare(baseline, turned, max_drop=0.01)
    assert found.status == "failed"
    assert found.agreement == pytest.approx(-1.0)
    assert found.delta == pytest.approx(-2.0)
    bare = [{"text": row["text"]} for row in rows]
    unlabelled = evaluator_of(tmp_path, "text-classification", bare, ("LABEL_0",))
    near = {"values": baseline["values"] + np.float32(0.001) * np.array([1, -1, 0, 1, 0, -1, 1], np.float32)}
    found = unlabelled.compare(baseline, near, max_drop=0.01)
    assert (found.metric, found.baseline, found.status) == ("correlation", 1.0, "passed")
    assert found.compiled is not None
    assert 0.999 < found.compiled < 1.0
    assert unlabelled.compare(baseline, baseline, max_drop=0.0).compiled == 1.0


def test_a_constant_is_compared_by_its_value(tmp_path: Path) -> None:
    rows = [{"text": "film"}] * 3
    evaluator = evaluator_of(tmp_path, "text-classification", rows, ("LABEL_0",))
    constant = np.full(3, 2.0, dtype=np.float32)
    found = evaluator.compare({"values": constant}, {"values": constant + 0.001}, max_drop=0.01)
    assert (found.compiled, found.status) == (1.0, "passed")
    found = evaluator.compare({"values": constant}, {"values": constant + 1}, max_drop=0.01)
    assert (found.compiled, found.status) == (0.0, "failed")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_no_numbers_fail_the_gate(tmp_path: Path, bad: float) -> None:
    evaluator = evaluator_of(tmp_path, "text-classification", ROWS, LABELS)
    with pytest.raises(AccuracyGateError, match=r"text [247] "):
        predicted(evaluator, table(2, {"bad": [bad, 0.0]}), LABELS)


def test_predictions_of_other_data_are_refused(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path, "text-classification", ROWS, LABELS)
    good = {"logits": np.zeros((8, 2), dtype=np.float32)}
    for other in ({}, {"logits": np.zeros((7, 2))}, {"logits": np.zeros((8, 3))}, {"logits": np.zeros(8)}):
        with pytest.raises(IntegrityError):
            evaluator.compare(good, other, max_drop=0.01)
        with pytest.raises(IntegrityError):
            evaluator.compare(other, good, max_drop=0.01)
