"""The texts that a session takes, and their bounds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from targets.errors import UsageError
from targets.runtime.limits import CHUNK_CHARACTERS, CHUNK_TEXTS, MAX_CHARACTERS, MAX_TEXTS

TextItem: TypeAlias = str | tuple[str, str]


def check_items(items: Sequence[TextItem]) -> list[TextItem]:
    """The items as a list, each a text or a pair of texts.

    Raises:
        UsageError: more than `MAX_TEXTS` items, or one that `check_item` refuses.
    """
    if isinstance(items, str):
        raise UsageError("a single text was given where a list of texts is expected", "put it in a list")
    if len(items) > MAX_TEXTS:
        raise UsageError(f"{len(items)} texts in one call", f"give at most {MAX_TEXTS} at a time")
    return [check_item(f"text {number}", item) for number, item in enumerate(items, start=1)]


def check_item(name: str, item: object) -> TextItem:
    """The item as a text or a pair of texts.

    Args:
        name: what to call it, as in "text 3" or "line 3".
        item: what was given.

    Raises:
        UsageError: it is neither, or a text is of more than `MAX_CHARACTERS` characters or not valid Unicode.
    """
    if isinstance(item, str):
        return _check_text(name, item)
    if isinstance(item, (tuple, list)) and len(item) == 2:
        first, second = item
        if isinstance(first, str) and isinstance(second, str):
            return _check_text(name, first), _check_text(name, second)
    raise UsageError(f"{name} is neither a text nor a pair of texts", "give str, or a tuple of two of them")


def check_task(task: str, items: Sequence[TextItem]) -> None:
    """Refuses pairs where a task reads one text, and single texts where it reads two.

    Raises:
        UsageError: naming the first such item.
    """
    for number, item in enumerate(items, start=1):
        check_task_item(task, f"text {number}", item)


def check_task_item(task: str, name: str, item: TextItem) -> None:
    """The same for one item, which errors call `name`."""
    if task == "question-answering" and isinstance(item, str):
        raise UsageError(f"{name} is a single text", "give (question, context)")
    if task == "token-classification" and not isinstance(item, str):
        raise UsageError(f"{name} is a pair", "token classification reads single texts")


def chunks(
    items: Iterable[TextItem], texts: int = CHUNK_TEXTS, characters: int = CHUNK_CHARACTERS
) -> Iterator[list[TextItem]]:
    """The items a few at a time, in order: as many as these bounds allow, and one at least."""
    chunk: list[TextItem] = []
    room = characters
    for item in items:
        size = len(item) if isinstance(item, str) else len(item[0]) + len(item[1])
        if chunk and (len(chunk) == texts or size > room):
            yield chunk
            chunk, room = [], characters
        chunk.append(item)
        room -= size
    if chunk:
        yield chunk


def check_unicode(name: str, text: str) -> None:
    """Refuses a text that no encoding of Unicode can write.

    Raises:
        UsageError: it holds half of a surrogate pair.
    """
    if text.isascii():
        return
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{name} holds half of a surrogate pair, which is not valid Unicode",
            "decode the source with errors='replace'",
        ) from error


def _check_text(name: str, text: str) -> str:
    if len(text) > MAX_CHARACTERS:
        raise UsageError(
            f"{name} has {len(text)} characters", f"cut it to at most {MAX_CHARACTERS} characters"
        )
    check_unicode(name, text)
    return text
