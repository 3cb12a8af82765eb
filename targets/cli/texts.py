"""The texts that `bertc run` is given: options, a file, or stdin."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from targets.errors import UsageError
from targets.runtime.items import MAX_CHARACTERS, TextItem

_MAX_LINE_BYTES = 16 * MAX_CHARACTERS
_FIELDS = (("text", "text_pair"), ("question", "context"))


def texts_of_options(texts: tuple[str, ...], pairs: tuple[str, ...]) -> list[TextItem]:
    """The items of `--text` and `--text-pair`.

    Raises:
        UsageError: as many of one as of the other are needed, if there are pairs.
    """
    if not pairs:
        return list(texts)
    if len(texts) != len(pairs):
        raise UsageError(
            f"{len(texts)} of --text and {len(pairs)} of --text-pair", "give one --text-pair for each --text"
        )
    return list(zip(texts, pairs, strict=True))


def texts_of_file(path: str | None, jsonl: bool) -> Iterator[TextItem]:
    """The items of a file or of stdin, one a line, read as they are asked for.

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
        for number, line in enumerate(_lines(stream), start=1):
            yield _json_item(number, line) if as_json else line


@contextmanager
def _open(path: str | None) -> Iterator[BinaryIO]:
    if path is None or path == "-":
        if sys.stdin.isatty():
            raise UsageError("there is no text", "give --text or --file, or pipe texts in, one a line")
        yield sys.stdin.buffer
        return
    try:
        stream = Path(path).open("rb")  # noqa: SIM115 -- closed below, after the error handling of opening
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}", "check --file") from error
    with stream:
        yield stream


def _lines(stream: BinaryIO) -> Iterator[str]:
    number = 0
    while raw := stream.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > _MAX_LINE_BYTES:
            raise UsageError(
                f"line {number} is longer than {_MAX_LINE_BYTES} bytes", "write one text on each line"
            )
        if number == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        try:
            yield raw.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"line {number} is not UTF-8", "convert the file, for example with iconv"
            ) from error


def _json_item(number: int, line: str) -> TextItem:
    try:
        row = json.loads(line)
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
