"""Files of labelled text as a stream of records, by the file's extension."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final, TypeAlias

from calibration.delimited import csv_rows, records, tsv_rows
from calibration.lines import numbered_lines
from targets.errors import UsageError

Record: TypeAlias = tuple[int, Mapping[str, object]]

_PEEK: Final = 64
_PARQUET_BATCH: Final = 1024


@dataclass(frozen=True, slots=True)
class Table:
    """One pass over a file's records.

    Attributes:
        columns: names, in order of appearance.
        records: ``(row number from 1, values by column)``; for text formats the number is the line's.
        label_names: names of integer labels per column, where the file itself declares them.
    """

    columns: tuple[str, ...]
    records: Iterator[Record]
    label_names: Mapping[str, tuple[str, ...]]


def open_table(path: Path) -> Table:
    """Open a data file for one streaming pass.

    Raises:
        UsageError: not a readable file, unknown extension, empty, or malformed at its start.
            Rows that are malformed later raise while iterating, with their line.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(READERS)
        raise UsageError(
            f"{path}: cannot tell the format from {path.suffix or 'no extension'!r}", f"give one of {known}"
        )
    table = reader(path)
    first = next(table.records, None)
    if first is None:
        raise UsageError(f"{path}: the file has no rows", "give a file with at least one text")
    return Table(table.columns, chain([first], table.records), table.label_names)


def _open_txt(path: Path) -> Table:
    rows = ((number, {"text": line}) for number, line in numbered_lines(path) if line.strip())
    return Table(("text",), rows, {})


def _open_tsv(path: Path) -> Table:
    return Table(*records(path, tsv_rows(path)), {})


def _open_csv(path: Path) -> Table:
    return Table(*records(path, csv_rows(path)), {})


def _open_jsonl(path: Path) -> Table:
    return _with_columns(_json_lines(path))


def _open_json(path: Path) -> Table:
    """A list of objects, ``{"data": [...]}``, SQuAD's own nesting, or JSON lines by another name."""
    head = list(islice(_filled_lines(path), 2))
    if len(head) == 2 and _is_object(head[0][1]):
        return _open_jsonl(path)
    text = "\n".join(line for _, line in numbered_lines(path))
    if not text.strip():
        return Table((), iter(()), {})
    document = _parse(path, 1, text)
    items = document.get("data", [document]) if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise UsageError(f"{path}: neither a list of objects nor one under 'data'", "give a list of objects")
    return _with_columns(_objects(path, items))


def _open_parquet(path: Path) -> Table:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError(
            f"{path}: reading parquet needs pyarrow", "install it: pip install pyarrow, or give .jsonl"
        ) from error
    try:
        file = parquet.ParquetFile(path)
        names = tuple(str(name) for name in file.schema_arrow.names)
        metadata = file.schema_arrow.metadata or {}
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"{path}: not a readable parquet file: {_first_line(error)}", "check it") from error

    def rows() -> Iterator[Record]:
        number = 0
        try:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
        except (pyarrow.ArrowException, OSError) as error:
            message = f"{path}: damaged after row {number}: {_first_line(error)}"
            raise UsageError(message, "write the file again") from error

    return Table(names, rows(), _declared_label_names(metadata.get(b"huggingface")))


READERS: Final[Mapping[str, Callable[[Path], Table]]] = {
    ".jsonl": _open_jsonl,
    ".json": _open_json,
    ".csv": _open_csv,
    ".tsv": _open_tsv,
    ".txt": _open_txt,
    ".parquet": _open_parquet,
}


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _filled_lines(path: Path) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in numbered_lines(path) if line.strip())


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _parse(path: Path, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        at = number + error.lineno - 1 if isinstance(error, json.JSONDecodeError) else number
        reason = error.msg if isinstance(error, json.JSONDecodeError) else _first_line(error)
        raise UsageError(f"{path}, line {at}: not valid JSON: {reason}", "correct that line") from error


def _json_lines(path: Path) -> Iterator[Record]:
    for number, line in _filled_lines(path):
        value = _parse(path, number, line)
        if not isinstance(value, dict):
            raise UsageError(
                f"{path}, line {number}: a JSON {type(value).__name__} where an object is expected",
                "write one JSON object on each line",
            )
        yield number, value


def _objects(path: Path, items: list[Any]) -> Iterator[Record]:
    number = 0
    for position, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise UsageError(f"{path}: item {position} is not an object", "give a list of objects")
        for row in _squad_rows(path, item) if isinstance(item.get("paragraphs"), list) else (item,):
            number += 1
            yield number, row


def _squad_rows(path: Path, article: Mapping[str, Any]) -> Iterator[Mapping[str, object]]:
    try:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                yield {"context": paragraph["context"], **question}
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{path}: 'paragraphs' without the 'context' and 'qas' of SQuAD",
            "give SQuAD's own file, or one object with question, context and answers on each line",
        ) from error


def _with_columns(rows: Iterator[Record]) -> Table:
    """The columns of the first records: an optional key may be absent from the very first one."""
    head = list(islice(rows, _PEEK))
    columns = tuple(dict.fromkeys(str(key) for _, row in head for key in row))
    return Table(columns, chain(head, rows), {})


def _declared_label_names(metadata: bytes | None) -> dict[str, tuple[str, ...]]:
    """Class names per column that the `datasets` library leaves in a parquet file's metadata."""
    try:
        features = json.loads(metadata or b"{}").get("info", {}).get("features", {})
        return {column: names for column in features if (names := class_names(features[column]))}
    except (ValueError, AttributeError, TypeError):
        return {}


def class_names(feature: object) -> tuple[str, ...] | None:
    """Names in a declared ``ClassLabel``, alone or inside a sequence of them; None for other features."""
    if isinstance(feature, list) and len(feature) == 1:
        return class_names(feature[0])
    if not isinstance(feature, Mapping):
        return None
    names = feature.get("names")
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return class_names(feature.get("feature"))
