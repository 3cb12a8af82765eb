"""Typed reading of untrusted mappings (a TOML profile, a JSON manifest), key by key."""

from __future__ import annotations

import difflib
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from targets.errors import BertcError

_Choice = TypeVar("_Choice", bound=str | int)
# Controls; separators of lines; what turns the direction of a text; what is not seen at all. Marks of
# direction and joiners are left, which Arabic, Hebrew, Persian and Indic texts are written with.
_CONTROL: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u206f"
    "\u200b\u2060-\u2064\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

MAX_TEXT: Final = 1024
MAX_INTEGER: Final = 2**53 - 1


def nearest(name: str, known: Sequence[str]) -> str:
    """A clause naming the closest known names, or all of them if none is close."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    return "known: " + ", ".join(sorted(known))


def check_text(value: str, where: str, fail: Callable[[str], BertcError]) -> None:
    """Reject what does not print but does something, as escapes of a terminal do, and lone surrogates.

    Raises:
        BertcError: the error that `fail` makes, naming `where`.
    """
    if _CONTROL.search(value):
        raise fail(f"{where} holds a control character")
    check_unicode(value, where, fail)


def check_unicode(value: str, where: str, fail: Callable[[str], BertcError]) -> None:
    """Reject lone surrogates.

    Raises:
        BertcError: the error that `fail` makes, naming `where`.
    """
    if _SURROGATE.search(value):
        raise fail(f"{where} holds half of a surrogate pair, which is not text")


class Fields:
    """One table of a document: reads each key with its type, then rejects what was not read."""

    def __init__(
        self, data: object, where: str, fail: Callable[[str], BertcError], *, lenient: bool = False
    ) -> None:
        """Wrap a parsed table.

        Args:
            data: the parsed table.
            where: dotted place of the table in its document, empty at the top.
            fail: makes the error to raise from one line of text.
            lenient: whether keys that were not read are let through.
        """
        self._where = where
        self._fail = fail
        self._lenient = lenient
        if not isinstance(data, dict):
            raise fail(f"{where or 'the document'} must be a table, not {_kind(data)}")
        self._data: dict[str, Any] = data
        self._read: set[str] = set()

    def place(self, key: str) -> str:
        """Dotted name of a key, for messages."""
        return f"{self._where}.{key}" if self._where else key

    def has(self, key: str) -> bool:
        """Whether the key, which may be left out, is there."""
        self._read.add(key)
        return key in self._data

    def text(self, key: str, pattern: re.Pattern[str] | None = None, limit: int = MAX_TEXT) -> str:
        """A string without control characters, of at most `limit` characters, matching `pattern`."""
        value = self._get(key)
        return self._text(value, self.place(key), pattern, limit)

    def text_or_null(self, key: str, pattern: re.Pattern[str] | None = None) -> str | None:
        """A string, or null."""
        return None if self._get(key) is None else self.text(key, pattern)

    def texts(self, key: str, pattern: re.Pattern[str] | None = None) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(
            self._text(item, f"{self.place(key)}[{i}]", pattern, MAX_TEXT)
            for i, item in enumerate(self.items(key))
        )

    def text_lists(self, key: str, pattern: re.Pattern[str]) -> tuple[tuple[str, ...], ...]:
        """A list of non-empty lists of strings."""
        rows: list[tuple[str, ...]] = []
        for i, row in enumerate(self.items(key)):
            where = f"{self.place(key)}[{i}]"
            if not isinstance(row, list) or not row:
                raise self._fail(f"{where} must be a non-empty list of strings")
            rows.append(
                tuple(self._text(item, f"{where}[{j}]", pattern, MAX_TEXT) for j, item in enumerate(row))
            )
        return tuple(rows)

    def text_map(self, key: str, pattern: re.Pattern[str], limit: int = 32) -> dict[str, str]:
        """A table of strings, at most `limit` of them, keys and values matching `pattern`."""
        value = self._get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "a table of strings", value)
        if len(value) > limit:
            raise self._fail(f"{self.place(key)} has {len(value)} entries, more than {limit}")
        result = {}
        for name in sorted(value):
            self._text(name, f"a key of {self.place(key)}", pattern, MAX_TEXT)
            result[name] = self._text(value[name], f"{self.place(key)}.{name}", pattern, MAX_TEXT)
        return result

    def integer(self, key: str, low: int = 0, high: int = MAX_INTEGER) -> int:
        """An integer in [low, high]; a boolean is none."""
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key, "an integer", value)
        if not low <= value <= high:
            raise self._fail(f"{self.place(key)} must be between {low} and {high}")
        return value

    def ascending(self, key: str, low: int, high: int, limit: int) -> tuple[int, ...]:
        """A list of at most `limit` integers in [low, high], each above the one before it."""
        values = self.items(key)
        whole = all(isinstance(each, int) and not isinstance(each, bool) for each in values)
        if not whole or len(values) > limit or any(a >= b for a, b in itertools.pairwise(values)):
            raise self._fail(f"{self.place(key)} must be at most {limit} integers, ascending")
        if values and not low <= values[0] <= values[-1] <= high:
            raise self._fail(f"{self.place(key)} must be between {low} and {high}")
        return tuple(values)

    def integer_or_null(self, key: str, low: int = 0, high: int = MAX_INTEGER) -> int | None:
        """An integer in [low, high], or null."""
        return None if self._get(key) is None else self.integer(key, low, high)

    def real(self, key: str) -> float:
        """A finite number that is not negative."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number", value)
        if not 0 <= value <= sys.float_info.max:
            raise self._fail(f"{self.place(key)} must be a number from 0")
        return float(value)

    def real_or_null(self, key: str) -> float | None:
        """A finite number that is not negative, or null."""
        return None if self._get(key) is None else self.real(key)

    def number(self, key: str) -> float:
        """A finite number of either sign."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(key, "a number", value)
        if not abs(value) <= sys.float_info.max:
            raise self._fail(f"{self.place(key)} must be a finite number")
        return float(value)

    def number_or_null(self, key: str) -> float | None:
        """A finite number of either sign, or null."""
        return None if self._get(key) is None else self.number(key)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        """A list of so many finite numbers."""
        values = self.items(key)
        if len(values) != count:
            raise self._fail(f"{self.place(key)} must be {count} numbers")
        own = Fields({str(place): each for place, each in enumerate(values)}, self.place(key), self._fail)
        return tuple(own.number(str(place)) for place in range(count))

    def numbers_or_null(self, key: str, count: int) -> tuple[float, ...] | None:
        """A list of so many finite numbers, or null."""
        return None if self._get(key) is None else self.numbers(key, count)

    def flag(self, key: str) -> bool:
        """A boolean."""
        value = self._get(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def choice(self, key: str, options: Sequence[_Choice]) -> _Choice:
        """One of `options`, of the same type."""
        value = self._get(key)
        for option in options:
            if type(value) is type(option) and value == option:
                return option
        names = ", ".join(str(option) for option in options)
        shown = repr(value[:80]) if isinstance(value, str) else _kind(value)
        if isinstance(value, int) and not isinstance(value, bool):
            shown = str(value)[:40]
        raise self._fail(f"{self.place(key)} must be one of {names}, not {shown}")

    def choice_or_null(self, key: str, options: Sequence[_Choice]) -> _Choice | None:
        """One of `options`, or null."""
        return None if self._get(key) is None else self.choice(key, options)

    def items(self, key: str) -> list[Any]:
        """A list of anything."""
        value = self._get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list", value)
        return value

    def table(self, key: str) -> Fields:
        """A table inside this one."""
        return Fields(self._get(key), self.place(key), self._fail, lenient=self._lenient)

    def tables(self, key: str) -> list[Fields]:
        """A list of tables."""
        return [
            Fields(item, f"{self.place(key)}[{i}]", self._fail, lenient=self._lenient)
            for i, item in enumerate(self.items(key))
        ]

    def free(self, key: str) -> dict[str, Any]:
        """A table whose content is not described further."""
        value = self._get(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "a table", value)
        return value

    def free_or_null(self, key: str) -> dict[str, Any] | None:
        """A table whose content is not described further, or null."""
        return None if self._get(key) is None else self.free(key)

    def close(self) -> None:
        """Reject every key that was not read, with the nearest name that is known."""
        if self._lenient:
            return
        unknown = sorted(set(self._data) - self._read)
        if unknown:
            name = unknown[0][:80]
            raise self._fail(f"unknown key {self.place(name)!r}: {nearest(name, sorted(self._read))}")

    def _get(self, key: str) -> Any:
        self._read.add(key)
        if key not in self._data:
            raise self._fail(f"{self.place(key)} is missing")
        return self._data[key]

    def _wrong(self, key: str, expected: str, value: object) -> BertcError:
        return self._fail(f"{self.place(key)} must be {expected}, not {_kind(value)}")

    def _text(self, value: object, where: str, pattern: re.Pattern[str] | None, limit: int) -> str:
        if not isinstance(value, str):
            raise self._fail(f"{where} must be a string, not {_kind(value)}")
        if len(value) > limit:
            raise self._fail(f"{where} has {len(value)} characters, more than {limit}")
        check_text(value, where, self._fail)
        if pattern is not None and not pattern.fullmatch(value):
            raise self._fail(f"{where} must match {pattern.pattern}, not {value[:80]!r}")
        return value


def _kind(value: object) -> str:
    names = {dict: "a table", list: "a list", str: "a string", bool: "a boolean", int: "an integer"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")
