"""The texts that `bertc run` is given: options, a file, or stdin."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from targets.errors import UsageError
from targets.runtime.items import TextItem, check_item
from targets.runtime.limits import MAX_LINE_BYTES

_FIELDS = (("text", "text_pair"), ("question", "context"))


def texts_of_options(texts: tuple[str, ...], pairs: tuple[str, ...]) -> list[TextItem]:
    """The items of `--text` and `--text-pair`.

    Raises:
        UsageError: as many of one as of the other are needed, if there are pairs; a text is too long or, as
            the shell gave it, not UTF-8.
    """
    if pairs and len(texts) != len(pairs):
        raise UsageError(
            f"{len(texts)} of --text and {len(pairs)} of --text-pair", "give one --text-pair for each --text"
        )
    items: Iterable[TextItem] = zip(texts, pairs, strict=True) if pairs else texts
    return [check_item(f"text {number}", item) for number, item in enumerate(items, start=1)]


def texts_of_file(path: str | None, jsonl: bool) -> Iterator[tuple[int, TextItem]]:
    """The items of a file or of stdin with the numbers of their lines, read as they are asked for.

    A line ends with a line feed, with or without a carriage return before it; nothing else ends one. A byte
    order mark before the first is left out. Every line is a text, an empty one too; of JSON lines, blank ones
    are left out.

    Args:
        path: the file; None or `-` for stdin. A name that ends in .jsonl is read as JSON lines.
        jsonl: read JSON lines whatever the name: objects with `text` and, for a pair, `text_pair`, or with
            `question` and `context`.

    Raises:
        UsageError: no such file, a terminal for stdin, or a line that is too long, not UTF-8 or not such an
            object.
    """
    as_json = jsonl or (path is not None and path.lower().endswith((".jsonl", ".ndjson")))
    with _open(path) as stream:
        for number, line in _lines(stream):
            if not as_json:
                yield number, check_item(f"line {number}", line)
            elif line.strip():
                yield number, check_item(f"line {number}", _json_item(number, line))


@contextmanager
def _open(path: str | None) -> Iterator[BinaryIO]:
    if path is None or path == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise UsageError("there is no text", "give --text or --file, or pipe texts in, one a line")
        yield sys.stdin.buffer
        return
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 -- closed below, after the error handling of opening
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}", "check --file") from error
    with stream:
        yield stream


def _lines(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    number = 0
    while raw := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > MAX_LINE_BYTES:
            raise UsageError(
                f"line {number} is longer than {MAX_LINE_BYTES} bytes", "write one text on each line"
            )
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            line = raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"line {number} is not UTF-8", "convert the file, for example with iconv"
            ) from error
        yield number, line


def _json_item(number: int, line: str) -> TextItem:
    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(items)
        if len(table) != len(items):
            twice = next(key for key, _ in items if sum(key == other for other, _ in items) > 1)
            raise UsageError(f"line {number} has {twice[:40]!r} twice", "give each name once")
        return table

    try:
        # Whole numbers may have more digits than Python reads; none is used.
        row = json.loads(line, object_pairs_hook=unique, parse_int=float)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"line {number} is not JSON", "write one JSON object on each line") from error
    if isinstance(row, dict):
        for first, second in _FIELDS:
            text, pair = row.get(first), row.get(second)
            if isinstance(text, str) and pair is None:
                return text
            if isinstance(text, str) and isinstance(pair, str):
                return text, pair
    raise UsageError(
        f"line {number} has no text",
        'write objects such as {"text": "..."} or {"question": "...", "context": "..."}',
    )
