"""File formats: quoting, line ends, encodings, malformed and empty files."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from calibration import DataOptions, Example, open_dataset
from calibration.delimited import MAX_LINES_OF_A_FIELD
from targets.errors import UsageError

TEXT = "text-classification"
SHARED_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path


def pairs(path: Path) -> list[tuple[str, Any]]:
    return [(example.text, example.label) for example in open_dataset(path, TEXT)]


def test_tsv_keeps_lone_and_surrounding_quotation_marks(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", 'sentence\tlabel\n"a film\t1\n"quoted"\t0\nsay ""so""\t1\n')
    assert pairs(path) == [('"a film', "1"), ('"quoted"', "0"), ('say ""so""', "1")]


def test_csv_reads_fully_quoted_fields(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,label\n"one, ""two""\nthree",1\nplain,0\n"",1\n')
    assert pairs(path) == [('one, "two"\nthree', "1"), ("plain", "0"), ("", "1")]


def test_csv_row_number_is_the_line_where_the_row_starts(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", 'text,label\n"a\nb",1\n\nc,0\n')
    assert [example.row for example in open_dataset(path, TEXT)] == [2, 5]


def test_csv_keeps_a_lone_quotation_mark_and_eats_no_rows(tmp_path: Path) -> None:
    body = '"gripping film,1\nhe said "wow",0\n5" nails,1\n"half" open,0\n'
    path = write(tmp_path, "a.csv", "text,label\n" + body)
    assert pairs(path) == [
        ('"gripping film', "1"),
        ('he said "wow"', "0"),
        ('5" nails', "1"),
        ('"half" open', "0"),
    ]


def test_csv_search_for_a_closing_quotation_mark_is_bounded(tmp_path: Path) -> None:
    rows = [f"row {i},0" for i in range(MAX_LINES_OF_A_FIELD + 10)]
    path = write(tmp_path, "a.csv", "\n".join(["text,label", '"open,1', *rows, '"closed",1']))
    read = pairs(path)
    assert read[0] == ('"open', "1")
    assert len(read) == len(rows) + 2
    assert read[-1] == ("closed", "1")


CELLS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=12)


@SHARED_FILE
@given(st.lists(st.tuples(CELLS, st.sampled_from("01")), min_size=1, max_size=6))
def test_csv_reads_what_the_standard_writer_writes(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("text", "label"), *rows])
    assert pairs(write(tmp_path, "w.csv", buffer.getvalue())) == rows


@SHARED_FILE
@given(st.lists(st.tuples(CELLS, st.sampled_from("01")), min_size=1, max_size=6))
def test_jsonl_reads_what_json_writes(tmp_path: Path, rows: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows]
    assert pairs(write(tmp_path, "w.jsonl", "\n".join(lines))) == rows


@pytest.mark.parametrize("name", ["a.tsv", "a.csv"])
def test_byte_order_mark_and_crlf(tmp_path: Path, name: str) -> None:
    separator = "\t" if name.endswith("tsv") else ","
    content = f"\ufeffsentence{separator}label\r\ncaf\u00e9{separator}1\r\n"
    assert pairs(write(tmp_path, name, content)) == [("caf\u00e9", "1")]


def test_text_lines(tmp_path: Path) -> None:
    dataset = open_dataset(write(tmp_path, "a.txt", "\ufeffone\r\n\r\ntwo, three\n"), TEXT)
    assert list(dataset) == [Example("one", row=1), Example("two, three", row=3)]
    assert dataset.columns == ("text",)
    assert not dataset.has_labels


def test_jsonl_columns_are_those_of_the_first_records_together(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "a"}\n\n{"text": "b", "label": 2}\n')
    dataset = open_dataset(path, TEXT)
    assert dataset.columns == ("text", "label")
    assert [(e.text, e.label, e.row) for e in dataset] == [("a", None, 1), ("b", 2, 3)]


@pytest.mark.parametrize(
    "content",
    [
        '[{"text": "a", "label": 1}, {"text": "b", "label": 0}]',
        '{"data": [{"text": "a", "label": 1}, {"text": "b", "label": 0}]}',
        '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n',
        '\n[\n {"text": "a", "label": 1},\n {"text": "b", "label": 0}\n]\n',
    ],
)
def test_json_in_each_usual_form(tmp_path: Path, content: str) -> None:
    assert pairs(write(tmp_path, "a.json", content)) == [("a", 1), ("b", 0)]


def test_json_in_the_nesting_of_squad(tmp_path: Path) -> None:
    question = {"id": "q1", "question": "who?", "answers": [{"text": "Ann", "answer_start": 0}]}
    nothing = {"id": "q2", "question": "when?", "answers": [], "is_impossible": True}
    article = {"title": "t", "paragraphs": [{"context": "Ann did", "qas": [question, nothing]}]}
    path = write(tmp_path, "squad.json", json.dumps({"version": "v2.0", "data": [article]}))
    assert list(open_dataset(path, "question-answering")) == [
        Example("who?", "Ann did", answers=("Ann",), id="q1", row=1),
        Example("when?", "Ann did", answers=(), id="q2", row=2),
    ]


def test_parquet_with_declared_label_names(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    features = {
        "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
        "tags": {"feature": {"names": ["O", "B-X"], "_type": "ClassLabel"}, "_type": "List"},
    }
    table = pyarrow.table(
        {"text": ["a", "b"], "label": [1, 0], "tokens": [["a"], ["b", "c"]], "tags": [[0], [1, 0]]}
    )
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, tmp_path / "a.parquet")
    dataset = open_dataset(tmp_path / "a.parquet", TEXT)
    assert [(e.text, e.label, e.row) for e in dataset] == [("a", 1, 1), ("b", 0, 2)]
    assert dataset.label_names == ("neg", "pos")
    tagged = open_dataset(tmp_path / "a.parquet", "token-classification")
    assert [e.tags for e in tagged] == [(0,), (1, 0)]
    assert tagged.label_names == ("O", "B-X")


def test_parquet_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError) as caught:
        open_dataset(write(tmp_path, "a.parquet", b"PAR1"), TEXT)
    assert "pip install pyarrow" in caught.value.hint


def test_damaged_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    with pytest.raises(UsageError, match="not a readable parquet"):
        open_dataset(write(tmp_path, "a.parquet", b"PAR1 this is none PAR1"), TEXT)


def test_digest_is_of_the_content_and_iteration_starts_anew(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", "one\ntwo\n")
    dataset = open_dataset(path, TEXT)
    assert dataset.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert list(dataset) == list(dataset)
    assert dataset.name == "a.txt"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", "no rows"),
        ("a.json", " \n", "no rows"),
        ("a.json", "[]", "no rows"),
        ("a.txt", "\n\n", "no rows"),
        ("a.tsv", "", "empty"),
        ("a.csv", "text,label\n", "no rows"),
        ("a.csv", "text,text\na,b\n", "twice"),
        ("a.tsv", "text\tlabel\na\tb\tc\n", "line 2: 3 fields where the header has 2"),
        ("a.jsonl", '{"text": "a"}\n{"text": \n', "line 2: not valid JSON"),
        ("a.jsonl", '["a"]\n', "line 1: a JSON list"),
        ("a.json", '[{"text": "a"}, 3]', "item 2"),
        ("a.json", '{"data": 3}', "neither a list"),
        ("a.json", '{"data": [{"paragraphs": [3]}]}', "SQuAD"),
        ("a.jsonl", '{"text": 5}\n', "a number where a text"),
        ("a.jsonl", '{"text": "a"}\n{"text": null}\n', "row 2, column 'text': no value"),
        ("a.jsonl", '{"text": "\\ud83d"}\n', "surrogate"),
        ("a.jsonl", "[" * 100_000, "not valid JSON"),
        ("a.txt", b"good\nb\xe9d\n", "line 2: not valid UTF-8"),
        ("a.tsv", "text\tlabel\n".encode("utf-16"), "line 1: not valid UTF-8"),
        ("a.dat", "x", "cannot tell the format"),
        ("a", "x", "cannot tell the format"),
    ],
)
def test_bad_files_are_usage_errors(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    path = write(tmp_path, name, content)
    with pytest.raises(UsageError) as caught:
        list(open_dataset(path, TEXT))
    assert message in caught.value.message
    assert caught.value.hint
    assert "\n" not in caught.value.message


def test_a_folder_names_the_data_files_in_it(tmp_path: Path) -> None:
    write(tmp_path, "dev.tsv", "x")
    with pytest.raises(UsageError, match=r"a folder; it holds dev\.tsv"):
        open_dataset(tmp_path, TEXT)


@pytest.mark.parametrize(
    "source", ["missing.jsonl", "./missing", "/nowhere/x.tsv", "", "x" * 5000 + ".txt", Path("missing")]
)
def test_no_such_file(source: str | Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        open_dataset(source, TEXT)


def test_errors_in_later_rows_come_when_they_are_reached(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", "text\tlabel\ngood\t1\nbad\n")
    rows = iter(open_dataset(path, TEXT, DataOptions(text_column="text")))
    assert next(rows).text == "good"
    with pytest.raises(UsageError, match="line 3"):
        next(rows)
