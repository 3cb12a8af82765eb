"""The texts that a session takes, and their bounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from targets.errors import UsageError

TextItem: TypeAlias = str | tuple[str, str]

MAX_TEXTS = 100_000
MAX_CHARACTERS = 1_000_000


def check_items(items: Sequence[TextItem]) -> list[TextItem]:
    """The items as a list, each a text or a pair of texts.

    Raises:
        UsageError: more than `MAX_TEXTS` items, a text of more than `MAX_CHARACTERS` characters, or an
            item that is neither a text nor a pair.
    """
    if isinstance(items, str):
        raise UsageError("a single text was given where a list of texts is expected", "put it in a list")
    if len(items) > MAX_TEXTS:
        raise UsageError(f"{len(items)} texts in one call", f"give at most {MAX_TEXTS} at a time")
    return [_check_item(number, item) for number, item in enumerate(items, start=1)]


def check_task(task: str, items: Sequence[TextItem]) -> None:
    """Refuses pairs where a task reads one text, and single texts where it reads two.

    Raises:
        UsageError: naming the first such item.
    """
    for number, item in enumerate(items, start=1):
        if task == "question-answering" and isinstance(item, str):
            raise UsageError(f"text {number} is a single text", "give (question, context)")
        if task == "token-classification" and not isinstance(item, str):
            raise UsageError(f"text {number} is a pair", "token classification reads single texts")


def _check_item(number: int, item: object) -> TextItem:
    if isinstance(item, str):
        _check_text(number, item)
        return item
    if isinstance(item, (tuple, list)) and len(item) == 2:
        first, second = item
        if isinstance(first, str) and isinstance(second, str):
            _check_text(number, first)
            _check_text(number, second)
            return first, second
    raise UsageError(
        f"text {number} is neither a text nor a pair of texts", "give str, or a tuple of two of them"
    )


def _check_text(number: int, text: str) -> None:
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"text {number} has {len(text)} characters", f"cut it to at most {MAX_CHARACTERS} characters"
        )


def invalid_unicode(items: Sequence[TextItem]) -> UsageError | None:
    """The error that names the first text holding half of a surrogate pair; None if there is none."""
    for number, item in enumerate(items, start=1):
        for text in (item,) if isinstance(item, str) else item:
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                return UsageError(
                    f"text {number} holds half of a surrogate pair, which is not valid Unicode",
                    "decode the source with errors='replace'",
                )
    return None
