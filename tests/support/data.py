"""Small data files for every task, written as the field publishes them; same seed, same bytes."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.corpus import fact, news, opinion, sentences
from tests.support.models import NER_LABELS, SENTIMENT_LABELS, TOPIC_LABELS

Row = dict[str, Any]
FORMATS = ("jsonl", "json", "csv", "tsv", "parquet", "txt")


def classification_rows(count: int = 24, seed: int = 0, *, names: bool = False) -> list[Row]:
    """{"text", "label"}: opinions with the label as an id, or as a name when `names`."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        label = index % 2
        text = opinion(rng, positive=bool(label))
        rows.append({"text": text, "label": SENTIMENT_LABELS[label] if names else label})
    return rows


def pair_rows(count: int = 24, seed: int = 0) -> list[Row]:
    """{"sentence1", "sentence2", "label"}: label 1 where both sentences have the same feeling."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        first = bool(rng.getrandbits(1))
        second = first if index % 2 else not first
        rows.append(
            {
                "sentence1": opinion(rng, first),
                "sentence2": opinion(rng, second),
                "label": int(first == second),
            }
        )
    return rows


def regression_rows(count: int = 24, seed: int = 0) -> list[Row]:
    """{"text", "score"}: opinions with a score from 0 to 5."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        score = round(rng.uniform(2.5, 5.0) if index % 2 else rng.uniform(0.0, 2.5), 2)
        rows.append({"text": opinion(rng, score > 2.5), "score": score})
    return rows


def multi_label_rows(count: int = 24, seed: int = 0) -> list[Row]:
    """{"text", "labels"}: the topics of a text as names out of TOPIC_LABELS; some lists are empty."""
    rng = random.Random(seed)
    topics = {"PER": TOPIC_LABELS[0], "LOC": TOPIC_LABELS[1], "ORG": TOPIC_LABELS[2]}
    rows = []
    for index in range(count):
        parts = news(rng)
        text = " ".join(words for words, _ in parts)
        found = {topics[kind] for _, kind in parts if kind}
        if index % 3 == 0:
            text, found = f"{text} {opinion(rng, positive=True)}", found | {TOPIC_LABELS[3]}
        rows.append({"text": text, "labels": [name for name in TOPIC_LABELS if name in found]})
    return rows


def ner_rows(count: int = 24, seed: int = 0, *, names: bool = False) -> list[Row]:
    """{"tokens", "ner_tags"}: words with BIO tags out of NER_LABELS, as ids, or as names when `names`."""
    rng = random.Random(seed)
    rows = []
    for _ in range(count):
        tokens: list[str] = []
        tags: list[str] = []
        for words, kind in news(rng):
            for position, word in enumerate(words.split()):
                tokens.append(word)
                tags.append(f"{'I' if position else 'B'}-{kind}" if kind else "O")
        rows.append(
            {"tokens": tokens, "ner_tags": tags if names else [NER_LABELS.index(tag) for tag in tags]}
        )
    return rows


def squad_rows(count: int = 24, seed: int = 0, *, distractors: int = 2) -> list[Row]:
    """{"id", "question", "context", "answers"} as in SQuAD; every answer stands in its context.

    Args:
        count: number of rows.
        seed: seed of the text.
        distractors: sentences put before and after the one with the answer.
    """
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        statement, question, answer = fact(rng)
        before = [opinion(rng, positive=True) for _ in range(rng.randint(0, distractors))]
        after = [opinion(rng, positive=False) for _ in range(distractors)]
        context = " ".join([*before, statement, *after])
        start = context.index(statement) + statement.index(answer)
        assert context[start : start + len(answer)] == answer
        rows.append(
            {
                "id": f"q{index}",
                "question": question,
                "context": context,
                "answers": {"text": [answer], "answer_start": [start]},
            }
        )
    return rows


def scored_pair_rows(count: int = 24, seed: int = 0) -> list[Row]:
    """{"sentence1", "sentence2", "score"}: a score from 0 to 5 that grows with the words in common."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        first = opinion(rng, positive=bool(rng.getrandbits(1)))
        words = first.split()
        kept = words[: len(words) * (index % 5) // 4]
        second = " ".join([*kept, *opinion(rng, positive=bool(rng.getrandbits(1))).split()[len(kept) :]])
        common = len(set(words) & set(second.split())) / len(set(words) | set(second.split()))
        rows.append({"sentence1": first, "sentence2": second, "score": round(5 * common, 3)})
    return rows


def text_rows(count: int = 24, seed: int = 0) -> list[Row]:
    """{"text"}: sentences without labels, for embeddings, fill-mask and calibration."""
    return [{"text": text} for text in sentences(count, seed)]


def rows_for(task: str, count: int = 24, seed: int = 0) -> list[Row]:
    """The rows that suit the checkpoints that make_checkpoint writes for a task."""
    makers: dict[str, Callable[[int, int], list[Row]]] = {
        "text-classification": classification_rows,
        "token-classification": ner_rows,
        "question-answering": squad_rows,
        "feature-extraction": scored_pair_rows,
        "fill-mask": text_rows,
    }
    return makers[task](count, seed)


def _write_delimited(path: Path, rows: Sequence[Mapping[str, Any]], delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        if delimiter == "\t":
            file.write("\t".join(rows[0]) + "\n")
            file.writelines("\t".join(_cell(value) for value in row.values()) + "\n" for row in rows)
            return
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)


def _cell(value: Any) -> str:
    """Lists of names are written with commas; other nested values have no form in a delimited file."""
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    if isinstance(value, dict):
        raise TypeError("nested values need .jsonl or .parquet")
    return str(value)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Writes rows in the format of the file's suffix (see FORMATS) and returns the path.

    .txt holds the first column, one text a line; .tsv is written without any quoting.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix.lstrip(".")
    if suffix == "jsonl":
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    elif suffix == "json":
        path.write_text(json.dumps(list(rows), ensure_ascii=False, indent=1), encoding="utf-8")
    elif suffix in ("csv", "tsv"):
        _write_delimited(path, rows, "\t" if suffix == "tsv" else ",")
    elif suffix == "txt":
        path.write_text("".join(f"{next(iter(row.values()))}\n" for row in rows), encoding="utf-8")
    elif suffix == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path)
    else:
        raise ValueError(f"no format for {path.name}: it must end in one of {FORMATS}")
    return path


def write_task_data(
    folder: Path, task: str, *, count: int = 24, seed: int = 0, suffix: str = "jsonl"
) -> Path:
    """Writes `<task>-<seed>.<suffix>` with the rows of a task and returns its path."""
    return write_rows(folder / f"{task}-{seed}.{suffix}", rows_for(task, count, seed))
