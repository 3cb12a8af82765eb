"""Labels as names, ids, lists and numbers become the model's ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import Example, normalize_labels, normalize_tags
from calibration.examples import LabelValue
from targets.errors import UsageError

MULTI = "multi_label_classification"
SENTIMENT = ["NEGATIVE", "POSITIVE"]
TOPICS = ["sport", "art", "news, weather"]


def labelled(*values: LabelValue) -> list[Example]:
    return [Example("text", label=value, row=10 + i) for i, value in enumerate(values)]


def ids(labels: Sequence[str], *values: LabelValue, **options: Sequence[str]) -> list[int]:
    result = normalize_labels(labelled(*values), labels, label_names=options.get("label_names"))
    assert result.dtype == np.int64
    return [int(value) for value in result]


def test_names_and_ids() -> None:
    assert ids(SENTIMENT, "NEGATIVE", "positive", " Positive ") == [0, 1, 1]
    assert ids(SENTIMENT, 0, 1, "1", 1.0, "1.0", True) == [0, 1, 1, 1, 1, 1]
    assert ids(SENTIMENT, "LABEL_1", "label_0") == [1, 0]
    assert ids(["LABEL_0", "LABEL_1"], "LABEL_1", "LABEL_0") == [1, 0]
    assert ids(["entailment", "not_entailment"], "not entailment", "Not-Entailment") == [1, 1]
    assert ids(SENTIMENT, ("positive",)) == [1]
    assert ids(["false", "true"], True, False) == [1, 0]


def test_names_that_differ_only_in_case_are_told_apart() -> None:
    assert ids(["a", "A", "b"], "A", "a", "B") == [1, 0, 2]
    with pytest.raises(UsageError):
        ids(["ab", "AB"], "Ab")


def test_numbers_are_names_only_when_the_whole_column_is() -> None:
    stars = ["1", "2", "3", "4", "5"]
    assert ids(stars, 1, 5, 3) == [0, 4, 2]
    assert ids(stars, 1, 4, 0) == [1, 4, 0]
    assert ids(["1", "0"], 0, 1) == [1, 0]


def test_ids_follow_the_names_that_the_data_declares() -> None:
    assert ids(SENTIMENT, 0, 1, label_names=["positive", "negative"]) == [1, 0]
    assert ids(["LABEL_0", "LABEL_1"], 0, 1, label_names=["positive", "negative"]) == [0, 1]
    with pytest.raises(UsageError):
        ids(["a", "b", "c"], 2, label_names=["b", "a"])


@pytest.mark.parametrize("value", [2, -1, "neutral", 0.5, "-1", "", None, "99999999999999"])
def test_labels_outside_the_models(value: LabelValue) -> None:
    with pytest.raises(UsageError) as caught:
        normalize_labels(labelled("POSITIVE" if isinstance(value, str) else 1, value), SENTIMENT)
    assert caught.value.message.startswith("row 11: ")
    if value not in (None, ""):
        assert repr(value) in caught.value.message
        assert "'NEGATIVE', 'POSITIVE'" in caught.value.message


def test_an_example_without_a_row_is_named_by_its_place() -> None:
    with pytest.raises(UsageError, match=r"^row 2: no label"):
        normalize_labels([Example("a", label=1), Example("b")], SENTIMENT)


def test_several_labels_for_a_model_of_one() -> None:
    with pytest.raises(UsageError, match="several labels"):
        ids(SENTIMENT, ("NEGATIVE", "POSITIVE"))


def multi(*values: LabelValue) -> list[list[int]]:
    result = normalize_labels(labelled(*values), TOPICS, MULTI)
    assert result.dtype == np.int64
    return [[int(value) for value in row] for row in result]


def test_multi_label_forms() -> None:
    expected = [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert multi(("sport", "art"), (), ("news, weather",)) == expected
    assert multi("Art, sport", "", "news, weather") == expected
    assert multi("art|sport", (), '["news, weather"]') == expected
    assert multi((0, 1), (), 2) == expected
    assert multi("0,1", "", "2") == expected
    assert multi((1, 1, 0), (0.0, 0.0, 0.0), (False, False, True)) == expected
    assert multi("[1, 1, 0]", ("0", "0", "0"), ("0", "0", "1")) == expected


def test_two_ids_are_not_taken_for_a_multi_hot_row_when_another_row_cannot_be_one() -> None:
    result = normalize_labels(labelled((0, 1), (1,)), ["a", "b"], MULTI)
    assert result.tolist() == [[1, 1], [0, 1]]


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=8))
def test_multi_hot_rows_and_lists_of_names_mean_the_same(rows: list[list[bool]]) -> None:
    hot = multi(*(tuple(int(value) for value in row) for row in rows))
    named = multi(*(tuple(name for name, on in zip(TOPICS, row, strict=True) if on) for row in rows))
    assert hot == named == [[int(value) for value in row] for row in rows]


def test_multi_label_outside_the_models() -> None:
    with pytest.raises(UsageError, match="row 10: label 'music'"):
        multi("sport, music")
    with pytest.raises(UsageError, match="row 11: no label"):
        multi("sport", None)


def test_regression() -> None:
    scores = normalize_labels(labelled(1, 2.5, "3.25", " 4 "), ["LABEL_0"])
    assert scores.dtype == np.float64
    assert scores.tolist() == [1.0, 2.5, 3.25, 4.0]
    assert normalize_labels(labelled(0.5), SENTIMENT, "regression").tolist() == [0.5]


@pytest.mark.parametrize("value", ["good", float("nan"), "inf", (1.0, 2.0)])
def test_regression_needs_finite_numbers(value: LabelValue) -> None:
    with pytest.raises(UsageError, match=r"row 10: label .* is not a finite number"):
        normalize_labels(labelled(value), [], "regression")


def test_tags() -> None:
    labels = ["O", "B-PER", "I-PER"]
    examples = [
        Example("a b", tokens=("a", "b"), tags=("B-PER", "I-PER")),
        Example("", tokens=(), tags=()),
        Example("c d", tokens=("c", "d"), tags=("o", -100)),
    ]
    assert normalize_tags(examples, labels) == [(1, 2), (), (0, -100)]
    numbered = [Example("a b", tokens=("a", "b"), tags=(2, 0))]
    assert normalize_tags(numbered, labels) == [(2, 0)]
    assert normalize_tags(numbered, labels, label_names=["I-PER", "B-PER", "O"]) == [(0, 2)]


def test_tags_outside_the_models_or_missing() -> None:
    with pytest.raises(UsageError, match="row 7: label 'B-LOC' is none of the model's: 'O', 'B-PER'"):
        normalize_tags([Example("a", tags=("B-LOC",), row=7)], ["O", "B-PER"])
    with pytest.raises(UsageError, match="row 7: no tags"):
        normalize_tags([Example("a", row=7)], ["O"])
