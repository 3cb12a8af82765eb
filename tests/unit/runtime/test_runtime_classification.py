from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from targets.runtime.tasks import Classification, Embedding, MultiLabel, Regression
from targets.runtime.tasks.scores import sigmoid, softmax, strip_span
from tests.support.tiny_runtime import RUNTIMES, session, table

LABELS = ("negative", "positive")
ROWS = {"good": [-6.0, 6.0], "bad": [6.0, -6.0]}

LOGITS = hnp.arrays(np.float32, st.integers(1, 8), elements=st.floats(-500, 500, width=32))


@given(LOGITS)
def test_softmax_is_a_distribution(logits: np.ndarray) -> None:
    chances = softmax(logits)
    assert chances.sum() == pytest.approx(1)
    assert (chances >= 0).all()
    np.testing.assert_allclose(softmax(logits + np.float32(8)), chances, atol=1e-4)


@given(LOGITS)
def test_sigmoid_is_symmetric(logits: np.ndarray) -> None:
    np.testing.assert_allclose(sigmoid(logits) + sigmoid(-logits), 1)


@given(st.text(max_size=20), st.integers(0, 20), st.integers(0, 20))
def test_strip_span_is_strip(text: str, one: int, other: int) -> None:
    start, end = sorted((min(one, len(text)), min(other, len(text))))
    first, last = strip_span(text, start, end)
    assert text[first:last] == text[start:end].strip()
    assert start <= first <= last <= end


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_single_label(runtime: str) -> None:
    values = table(2, ROWS)
    with session(runtime, "text-classification", values, LABELS) as opened:
        good, bad, pair = opened(["good good film", "bad", ("bad", "bad bad !")])
    assert isinstance(good, Classification)
    assert isinstance(bad, Classification)
    assert isinstance(pair, Classification)
    assert (good.label, bad.label, pair.label) == ("positive", "negative", "negative")
    logits = np.array([-12.0, 12.0]) / 5
    assert good.score == pytest.approx(float(softmax(logits)[1]), abs=1e-6)
    assert good.scores == {"negative": pytest.approx(1 - good.score), "positive": good.score}
    assert json.loads(json.dumps(good.to_dict()))["label"] == "positive"


def test_multi_label() -> None:
    values = table(3, {"good": [9.0, -9.0, 3.0], "bad": [-9.0, 9.0, 0.0]})
    with session(
        "onnxruntime",
        "text-classification",
        values,
        ("joy", "anger", "other"),
        problem_type="multi_label_classification",
    ) as opened:
        good, bad = opened.predict(["good", "bad"], threshold=0.6)
        (everything,) = opened.predict(["good"], threshold=0)
    assert isinstance(good, MultiLabel)
    assert isinstance(bad, MultiLabel)
    assert isinstance(everything, MultiLabel)
    assert good.labels == ("joy", "other")
    assert bad.labels == ("anger",)
    assert everything.labels == ("joy", "other", "anger")
    assert good.scores["joy"] == pytest.approx(float(sigmoid(np.float64(3))), abs=1e-6)
    assert set(good.to_dict()) == {"labels", "scores"}


@pytest.mark.parametrize("problem_type", [None, "regression"])
def test_regression(problem_type: str | None) -> None:
    with session(
        "onnxruntime", "text-classification", table(1, {"good": [3.0]}), problem_type=problem_type
    ) as opened:
        (found,) = opened(["good"])
    assert found == Regression(pytest.approx(1.0))
    assert found.to_dict() == {"score": pytest.approx(1.0)}


def test_labels_without_names() -> None:
    with session("onnxruntime", "text-classification", table(2, ROWS)) as opened:
        (found,) = opened(["good"])
    assert isinstance(found, Classification)
    assert found.label == "LABEL_1"


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_embedding(runtime: str) -> None:
    values = table(4)
    with session(runtime, "feature-extraction", values) as opened:
        found = opened(["the film", "", ("good", "bad")])
        (inference,) = opened.infer(["the film"])
    assert set(inference.windows[0].outputs) == {"sentence_embedding"}
    first = found[0]
    assert isinstance(first, Embedding)
    assert first.embedding.dtype == np.float32
    assert first.embedding.base is None
    ids = list(inference.windows[0].encoding.ids)
    np.testing.assert_allclose(first.embedding, values[ids].mean(axis=0), atol=1e-6)
    back = np.array(json.loads(json.dumps(first.to_dict()))["embedding"], dtype=np.float32)
    np.testing.assert_array_equal(back, first.embedding)
