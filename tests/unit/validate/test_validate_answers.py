from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.errors import AccuracyGateError, UsageError
from tests.support.evaluation import evaluator_of, predicted
from tests.support.tiny_runtime import RUNTIMES, table

CONTEXT = "the film was in Berlin , the play was in New York"
ROWS: list[dict[str, Any]] = [
    {"question": "who wrote it ?", "context": CONTEXT, "answers": {"text": ["Berlin"], "answer_start": [16]}},
    {
        "question": "was it good ?",
        "context": CONTEXT,
        "answers": {"text": ["New York"], "answer_start": [41]},
    },
    {"question": "was it bad ?", "context": CONTEXT, "answers": {"text": [], "answer_start": []}},
]
BERLIN = {"berlin": [9.0, 9.0]}
YORK = {"new": [9.0, 0.0], "york": [0.0, 9.0]}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_answers_and_questions_without_one(tmp_path: Path, runtime: str) -> None:
    evaluator = evaluator_of(tmp_path, "question-answering", ROWS)
    assert (evaluator.metric, evaluator.n, evaluator.scored) == ("f1", 3, 2)
    baseline = predicted(evaluator, table(2, BERLIN), runtime=runtime)
    assert evaluator.metrics(baseline) == {"f1": 0.5, "exact_match": 0.5}
    other = predicted(evaluator, table(2, YORK), runtime=runtime)
    found = evaluator.compare(baseline, other, max_drop=0.0)
    assert (found.delta, found.agreement, found.n, found.status) == (0.0, 0.0, 2, "passed")
    assert found.ci95 is not None
    assert found.ci95[0] < 0 < found.ci95[1]


@pytest.mark.parametrize("answers", [None, []])
def test_without_answers_the_agreement_is_the_metric(tmp_path: Path, answers: Any) -> None:
    rows = [{k: v for k, v in {**row, "answers": answers}.items() if v is not None} for row in ROWS]
    evaluator = evaluator_of(tmp_path, "question-answering", rows)
    assert (evaluator.metric, evaluator.scored, evaluator.labelled) == ("agreement", 3, False)
    baseline, other = (predicted(evaluator, table(2, rows)) for rows in (BERLIN, YORK))
    assert evaluator.compare(baseline, baseline, max_drop=0.0).status == "passed"
    assert evaluator.compare(baseline, other, max_drop=0.5).compiled == 0.0


def test_a_context_of_several_windows(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "context": "film " * 50 + "Berlin " + "film " * 50}]
    evaluator = evaluator_of(tmp_path, "question-answering", rows)
    found = predicted(evaluator, table(2, BERLIN), max_length=24)
    assert found["spans"].tolist() == [[250, 256]]
    assert evaluator.metrics(found)["exact_match"] == 1.0


def test_answers_in_some_rows_only(tmp_path: Path) -> None:
    rows = [ROWS[0], {**ROWS[1], "answers": None}]
    with pytest.raises(UsageError, match="row 2: no answers"):
        evaluator_of(tmp_path, "question-answering", rows)


def test_a_row_without_context(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="row 2: no context"):
        evaluator_of(tmp_path, "question-answering", [ROWS[0], {**ROWS[1], "context": None}])


def test_spans_outside_the_context_do_not_fit(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path, "question-answering", ROWS)
    spans = np.array([[0, 3], [0, 0], [4, len(CONTEXT)]], dtype=np.int32)
    assert evaluator.fits({"spans": spans})
    for bad in ([5, 4], [-1, 4], [0, len(CONTEXT) + 1]):
        assert not evaluator.fits({"spans": np.array([*spans[:2].tolist(), bad], dtype=np.int32)})


def test_outputs_that_are_no_numbers(tmp_path: Path) -> None:
    evaluator = evaluator_of(tmp_path, "question-answering", ROWS)
    with pytest.raises(AccuracyGateError):
        predicted(evaluator, table(2, {"berlin": [0.0, np.inf]}))
