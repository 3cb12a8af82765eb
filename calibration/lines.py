"""Text files as numbered lines: UTF-8 with or without a byte order mark, LF or CRLF."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from targets.errors import UsageError

_BOM = b"\xef\xbb\xbf"


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield ``(line number from 1, line without its end)``, one line in memory at a time.

    Raises:
        UsageError: the file cannot be read, or a line is not UTF-8 (the line is named).
    """
    try:
        with path.open("rb") as file:
            for number, raw in enumerate(file, start=1):
                body = raw.removeprefix(_BOM) if number == 1 else raw
                yield number, _decode(path, number, body.removesuffix(b"\n").removesuffix(b"\r"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}", "check the path") from error


def _decode(path: Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path}, line {number}: not valid UTF-8 (byte {error.start + 1} of the line)",
            "save the file as UTF-8, for example with: iconv -f latin1 -t utf-8",
        ) from error
