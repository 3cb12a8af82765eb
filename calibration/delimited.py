"""Rows of .csv and .tsv files.

Tab-separated files know no quoting: a quotation mark is a character like any other, as in the
files of GLUE. In comma-separated files a field that is quoted from end to end follows RFC 4180;
a quotation mark that opens a field and is never properly closed is kept as a character.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

from calibration.lines import numbered_lines
from targets.errors import UsageError

MAX_LINES_OF_A_FIELD: Final = 1000

Row: TypeAlias = tuple[int, list[str]]


def tsv_rows(path: Path) -> Iterator[Row]:
    """Yield ``(line number, fields)``; fields are what stands between tabs, to the letter."""
    for number, line in numbered_lines(path):
        if line.strip():
            yield number, line.split("\t")


def csv_rows(path: Path) -> Iterator[Row]:
    """Yield ``(line number of the row's start, fields)``; quoted fields may span lines."""
    source = _Lines(path)
    while (start := source.next()) is not None:
        number, line = start
        if line.strip():
            yield number, _csv_fields(line, source)


def records(
    path: Path, rows: Iterator[Row]
) -> tuple[tuple[str, ...], Iterator[tuple[int, dict[str, object]]]]:
    """Split rows into the column names of the first one and an iterator of records.

    Raises:
        UsageError: no first row, a column name twice, or later a row of another width.
    """
    first = next(rows, None)
    if first is None:
        raise UsageError(f"{path}: the file is empty", "give a file whose first line names the columns")
    columns = tuple(name.strip() or f"column{i}" for i, name in enumerate(first[1]))
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UsageError(
            f"{path}: column {twice[0]!r} is there twice", "the first line must name each column once"
        )
    return columns, _as_records(path, columns, rows)


def _as_records(
    path: Path, columns: tuple[str, ...], rows: Iterator[Row]
) -> Iterator[tuple[int, dict[str, object]]]:
    for number, fields in rows:
        if len(fields) != len(columns):
            raise UsageError(
                f"{path}, line {number}: {len(fields)} fields where the header has {len(columns)}",
                "correct that line; a separator inside a text needs a quoted field (.csv) or another format",
            )
        yield number, dict(zip(columns, fields, strict=True))


class _Lines:
    """Numbered lines with look-ahead that can be given back."""

    def __init__(self, path: Path) -> None:
        self._lines = numbered_lines(path)
        self._returned: deque[tuple[int, str]] = deque()

    def next(self) -> tuple[int, str] | None:
        return self._returned.popleft() if self._returned else next(self._lines, None)

    def give_back(self, lines: list[tuple[int, str]]) -> None:
        self._returned.extendleft(reversed(lines))


def _csv_fields(line: str, source: _Lines) -> list[str]:
    fields: list[str] = []
    position = 0
    while True:
        quoted = _quoted_field(line, position, source) if line.startswith('"', position) else None
        if quoted is not None:
            value, line, end = quoted
        else:
            comma = line.find(",", position)
            end = len(line) if comma < 0 else comma
            value = line[position:end]
        fields.append(value)
        if end >= len(line):
            return fields
        position = end + 1


def _quoted_field(line: str, start: int, source: _Lines) -> tuple[str, str, int] | None:
    """Read the quoted field at `start`: (value, the line it ends on, its end), or None if it never closes."""
    parts: list[str] = []
    taken: list[tuple[int, str]] = []
    begin = scan = start + 1
    while True:
        mark = line.find('"', scan)
        if mark < 0:
            following = source.next() if len(taken) < MAX_LINES_OF_A_FIELD else None
            if following is None:
                break
            taken.append(following)
            parts.append(line[begin:] + "\n")
            line = following[1]
            begin = scan = 0
        elif line.startswith('"', mark + 1):
            scan = mark + 2
        elif mark + 1 == len(line) or line[mark + 1] == ",":
            parts.append(line[begin:mark])
            return "".join(parts).replace('""', '"'), line, mark + 1
        else:
            break
    source.give_back(taken)
    return None
