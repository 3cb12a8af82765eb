"""From a record, whatever its file format, to an `Example`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from calibration.columns import ColumnMap
from calibration.examples import Example, LabelValue, Scalar
from targets.errors import UsageError


def to_example(source: str, row: int, record: Mapping[str, object], columns: ColumnMap) -> Example:
    """Read one record.

    Raises:
        UsageError: a value is missing or of the wrong type; the message names source, row and column.
    """
    return _Row(source, row, record).example(columns)


class _Row:
    def __init__(self, source: str, number: int, record: Mapping[str, object]) -> None:
        self.source = source
        self.number = number
        self.record = record

    def example(self, columns: ColumnMap) -> Example:
        tokens, tags = self._tokens(columns)
        text = self._text(columns.text or columns.tokens or "") if tokens is None else " ".join(tokens)
        pair = columns.text_pair
        identifier = self.record.get(columns.id) if columns.id is not None else None
        return Example(
            text=text,
            text_pair=self._text(pair) if pair is not None and self.record.get(pair) is not None else None,
            label=self._label(columns.label),
            tokens=tokens,
            tags=tags,
            answers=self._answers(columns.answers),
            id=str(identifier) if isinstance(identifier, int | str) else None,
            row=self.number,
        )

    def _error(self, column: str, reason: str, hint: str) -> UsageError:
        return UsageError(f"{self.source}, row {self.number}, column {column!r}: {reason}", hint)

    def _text(self, column: str) -> str:
        value = self.record.get(column)
        if isinstance(value, str):
            if _is_unicode(value):
                return value
            raise self._error(column, "holds half of a surrogate pair", "write the text as valid Unicode")
        reason = "no value" if value is None else f"{_kind(value)} where a text is expected"
        raise self._error(
            column, reason, "remove or correct that row, or name another column with --text-column"
        )

    def _label(self, columns: Sequence[str]) -> LabelValue:
        if not columns:
            return None
        if len(columns) > 1:
            return tuple(self._scalar(column, self.record.get(column)) for column in columns)
        value = _parsed_list(self.record.get(columns[0]))
        if value is None:
            return None
        if isinstance(value, list | tuple):
            return tuple(self._scalar(columns[0], item) for item in value)
        return self._scalar(columns[0], value)

    def _scalar(self, column: str, value: object) -> Scalar:
        if isinstance(value, str):
            return value.strip()
        if isinstance(value, int | float):
            return value
        reason = "no value" if value is None else f"a label cannot be a {type(value).__name__}"
        raise self._error(column, reason, "give a name, an id, a number or a list of them")

    def _tokens(self, columns: ColumnMap) -> tuple[tuple[str, ...] | None, tuple[int | str, ...] | None]:
        if columns.tokens is None:
            return None, None
        words = self._words(columns.tokens)
        if columns.tags is None or self.record.get(columns.tags) is None:
            is_text = isinstance(words, str)
            return (None if is_text else tuple(words)), None
        tokens = tuple(words.split()) if isinstance(words, str) else tuple(words)
        tags = self._tags(columns.tags)
        if len(tokens) != len(tags):
            raise self._error(
                columns.tags, f"{len(tags)} tags for {len(tokens)} tokens", "give one tag per token"
            )
        return tokens, tags

    def _words(self, column: str) -> str | list[str]:
        value = _parsed_list(self.record.get(column))
        if isinstance(value, str):
            return value
        if isinstance(value, list | tuple) and all(
            isinstance(word, str) and _is_unicode(word) for word in value
        ):
            return list(value)
        raise self._error(column, "not a list of words", "give a list, or words separated by blanks")

    def _tags(self, column: str) -> tuple[int | str, ...]:
        value = _parsed_list(self.record.get(column))
        items: Sequence[Any] = value.replace(",", " ").split() if isinstance(value, str) else _sequence(value)
        if value is not None and all(isinstance(tag, int | str) for tag in items):
            return tuple(items)
        raise self._error(column, "not a list of tags", "give tag names or ids, one per token")

    def _answers(self, column: str | None) -> tuple[str, ...] | None:
        if column is None:
            return None
        value = _parsed(self.record.get(column))
        if value is None:
            return None
        if isinstance(value, Mapping):
            value = value.get("text")
        items = [value] if isinstance(value, str) else _sequence(value)
        texts = [item.get("text") if isinstance(item, Mapping) else item for item in items]
        if isinstance(value, str | list | tuple) and all(isinstance(text, str) for text in texts):
            return tuple(text for text in texts if text)
        raise self._error(
            column, "not answers as SQuAD has them", 'give {"text": [...]}, a list of texts or a text'
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _parsed(value: object) -> Any:
    """The object or list that a text cell holds as JSON, or the value itself."""
    if isinstance(value, str) and value.lstrip()[:1] in {"[", "{"}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _parsed_list(value: object) -> Any:
    parsed = _parsed(value)
    return parsed if isinstance(parsed, list) else value


def _kind(value: object) -> str:
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return names.get(type(value), f"a {type(value).__name__}")
