"""Which columns are read, and how their cells become examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calibration import ColumnMap, DataOptions, Example, open_dataset, resolve_columns
from targets.errors import UsageError

TEXT, TOKENS, QA = "text-classification", "token-classification", "question-answering"
EMBED, MASK = "feature-extraction", "fill-mask"


def found(task: str, columns: str, **options: str) -> ColumnMap:
    return resolve_columns("data", columns.split(), task, DataOptions(**options))


@pytest.mark.parametrize(
    ("task", "columns", "expected"),
    [
        (TEXT, "sentence label", ColumnMap("sentence", label=("label",))),
        (TEXT, "idx text labels", ColumnMap("text", label=("labels",), id="idx")),
        (TEXT, "Review Sentiment", ColumnMap("Review", label=("Sentiment",))),
        (TEXT, "title content label", ColumnMap("content", label=("label",))),
        (TEXT, "sentence1 sentence2 score", ColumnMap("sentence1", "sentence2", ("score",))),
        (TEXT, "hypothesis premise label", ColumnMap("premise", "hypothesis", ("label",))),
        (TEXT, "question sentence label", ColumnMap("question", "sentence", ("label",))),
        (TEXT, "question1 question2 is_duplicate", ColumnMap("question1", "question2", ("is_duplicate",))),
        (TEXT, "text", ColumnMap("text")),
        (EMBED, "sentence1 sentence2 label score", ColumnMap("sentence1", "sentence2", ("score",))),
        (EMBED, "query passage", ColumnMap("query", "passage")),
        (MASK, "text label", ColumnMap("text")),
        (MASK, "sentence1 sentence2", ColumnMap("sentence1")),
        (TOKENS, "id tokens pos_tags ner_tags", ColumnMap(tokens="tokens", tags="ner_tags", id="id")),
        (TOKENS, "words labels", ColumnMap(tokens="words", tags="labels")),
        (TOKENS, "tokens", ColumnMap(tokens="tokens")),
        (TOKENS, "sentence label", ColumnMap("sentence")),
        (
            QA,
            "id title context question answers",
            ColumnMap("question", "context", answers="answers", id="id"),
        ),
        (QA, "question passage answer", ColumnMap("question", "passage", answers="answer")),
    ],
)
def test_conventions(task: str, columns: str, expected: ColumnMap) -> None:
    assert found(task, columns) == expected


def test_columns_asked_for_win() -> None:
    columns = "sentence1 sentence2 label other"
    assert found(TEXT, columns, text_column="other") == ColumnMap("other", label=("label",))
    assert found(
        TEXT, columns, text_column="other", text_pair_column="sentence1", label_column="sentence2"
    ) == (ColumnMap("other", "sentence1", ("sentence2",)))
    assert found(TEXT, columns, text_pair_column="sentence2") == ColumnMap(
        "sentence1", "sentence2", ("label",)
    )
    assert found(TEXT, "text note label", text_pair_column="note") == ColumnMap("text", "note", ("label",))
    assert found(QA, "q c a", text_column="q", text_pair_column="c", label_column="a") == (
        ColumnMap("q", "c", answers="a")
    )
    assert found(TOKENS, "w t", text_column="w", label_column="t") == ColumnMap(tokens="w", tags="t")


def test_the_exact_spelling_goes_before_another_case() -> None:
    assert found(TEXT, "Text text", text_column="text").text == "text"
    assert found(TEXT, "Text LABEL", text_column="text") == ColumnMap("Text", label=("LABEL",))


def test_several_label_columns_are_one_multi_label_row(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("comment_text,toxic,threat\nhello,0,1\n", encoding="utf-8")
    dataset = open_dataset(path, TEXT, DataOptions(label_column="toxic, threat"))
    assert list(dataset) == [Example("hello", label=("0", "1"), row=2)]


@pytest.mark.parametrize("flag", ["text_column", "text_pair_column", "label_column"])
@pytest.mark.parametrize("task", [TEXT, QA, EMBED])
def test_a_column_that_is_not_there(task: str, flag: str) -> None:
    with pytest.raises(UsageError) as caught:
        found(task, "question context answers labels", **{flag: "label_"})
    assert "'question', 'context', 'answers', 'labels'" in caught.value.message
    assert "nearest: 'labels'" in caught.value.message
    assert "--" + flag.replace("_", "-") in caught.value.hint


@pytest.mark.parametrize(
    ("task", "columns", "what"),
    [
        (TEXT, "a b", "text"),
        (TOKENS, "a b", "text"),
        (QA, "context b", "question"),
        (QA, "question b", "context"),
    ],
)
def test_no_known_column_lists_those_there_are(task: str, columns: str, what: str) -> None:
    with pytest.raises(UsageError, match=f"the {what}; columns: '"):
        found(task, columns)


def rows(folder: Path, task: str, *records: dict[str, Any]) -> list[Example]:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    return list(open_dataset(path, task))


@pytest.mark.parametrize(
    ("value", "answers"),
    [
        ({"text": ["Ann", "Bob"], "answer_start": [0, 4]}, ("Ann", "Bob")),
        ({"text": [], "answer_start": []}, ()),
        ([{"text": "Ann", "answer_start": 0}], ("Ann",)),
        (["Ann", "Bob"], ("Ann", "Bob")),
        ("Ann", ("Ann",)),
        ("", ()),
        ('{"text": ["Ann"], "answer_start": [0]}', ("Ann",)),
        ("[not json", ("[not json",)),
        (None, None),
    ],
)
def test_answers_in_each_usual_form(tmp_path: Path, value: object, answers: tuple[str, ...] | None) -> None:
    [example] = rows(tmp_path, QA, {"question": "who", "context": "Ann Bob", "answers": value})
    assert example.answers == answers


@pytest.mark.parametrize("value", [3, {"text": 3}, {"start": 1}, [3]])
def test_answers_of_another_form(tmp_path: Path, value: object) -> None:
    with pytest.raises(UsageError, match="row 1, column 'answers'"):
        rows(tmp_path, QA, {"question": "who", "context": "Ann", "answers": value})


@pytest.mark.parametrize(
    ("tokens", "tags", "expected"),
    [
        (["a", "b"], [0, 3], (0, 3)),
        (["a", "b"], ["O", "B-X"], ("O", "B-X")),
        ("a b", "O B-X", ("O", "B-X")),
        ("a  b", "O,B-X", ("O", "B-X")),
        ('["a", "b"]', "[0, 3]", (0, 3)),
    ],
)
def test_tokens_and_tags(tmp_path: Path, tokens: object, tags: object, expected: tuple[Any, ...]) -> None:
    [example] = rows(tmp_path, TOKENS, {"tokens": tokens, "ner_tags": tags})
    assert example == Example("a b", tokens=("a", "b"), tags=expected, row=1)


def test_tokens_without_tags(tmp_path: Path) -> None:
    assert rows(tmp_path, TOKENS, {"tokens": ["a", "b"]}) == [Example("a b", tokens=("a", "b"), row=1)]
    assert rows(tmp_path, TOKENS, {"tokens": "a b."}) == [Example("a b.", row=1)]


def test_as_many_tags_as_tokens(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 tags for 2 tokens"):
        rows(tmp_path, TOKENS, {"tokens": ["a", "b"], "tags": ["O"]})
    with pytest.raises(UsageError, match="not a list of words"):
        rows(tmp_path, TOKENS, {"tokens": [1, 2], "tags": ["O", "O"]})
    with pytest.raises(UsageError, match="not a list of tags"):
        rows(tmp_path, TOKENS, {"tokens": ["a"], "tags": [[0]]})


@pytest.mark.parametrize(
    ("value", "label"),
    [
        (1, 1),
        (0.5, 0.5),
        (" pos ", "pos"),
        ([0, 2], (0, 2)),
        (["a"], ("a",)),
        (True, True),
        (None, None),
        ([], ()),
    ],
)
def test_labels_in_each_usual_form(tmp_path: Path, value: object, label: object) -> None:
    [example] = rows(tmp_path, TEXT, {"text": "a", "label": value})
    assert example.label == label


def test_a_label_of_another_form(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a label cannot be a dict"):
        rows(tmp_path, TEXT, {"text": "a", "label": {"x": 1}})


def test_a_missing_second_text_is_none(tmp_path: Path) -> None:
    both = rows(tmp_path, TEXT, {"sentence1": "a", "sentence2": "b"}, {"sentence1": "c", "sentence2": None})
    assert [example.text_pair for example in both] == ["b", None]
