"""Real English text that is on every machine with Python: the language reference behind `help()`."""

from __future__ import annotations

import hashlib
import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from targets.errors import UsageError

TOPICS: Final = "pydoc_data.topics"

_MAX_INDENT: Final = 3
_SENTENCE_WORDS: Final = (5, 70)
_PASSAGE_WORDS: Final = (1, 1, 30, 70)
_ITEM: Final = re.compile(r"^(?:[*-]|\(?\d{1,2}[.)]|\[\d{1,2}\])\s+")
_NOTE: Final = re.compile(r"\s*\[\d{1,2}\]")
_EMPHASIS: Final = re.compile(r"(\*\*?)(\w(?:[^*\"]*[^*\"\s])?)\1")
_CODE: Final = re.compile(r"::=|>>>|[{}<>=|\\`#@^~]|\.\.\.")
_END: Final = re.compile(r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)\s+(?=[A-Z])")


def passages(topics: Mapping[str, str] | None = None) -> list[str]:
    """Passages of one or a few sentences, without code, grammar, headings or repetitions.

    The order is that of the passages' SHA-256, so that any part of the list is a sample of all topics,
    the same on every run.

    Args:
        topics: reStructuredText by name; None for those of the running Python.

    Raises:
        UsageError: this Python was installed without its documentation.
    """
    found: dict[str, None] = {}
    for text in (_installed() if topics is None else topics).values():
        for paragraph in _paragraphs(text):
            found.update(dict.fromkeys(_grouped(_sentences(paragraph))))
    return sorted(found, key=_digest)


def _installed() -> Mapping[str, str]:
    try:
        topics: Mapping[str, str] = importlib.import_module(TOPICS).topics
    except ModuleNotFoundError as error:
        raise UsageError(
            f"this Python has no {TOPICS}, whose text the demo reads",
            "use a Python with its complete standard library",
        ) from error
    return topics


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs of prose on one line each: examples and grammar are indented or hold signs of code."""
    for block in re.split(r"\n\s*\n", text):
        indent = len(block) - len(block.lstrip(" "))
        flat = " ".join(block.split())
        if indent <= _MAX_INDENT and not _CODE.search(flat):
            yield _EMPHASIS.sub(r"\2", _NOTE.sub("", _ITEM.sub("", flat)))


def _sentences(paragraph: str) -> list[str]:
    """The complete sentences of a paragraph."""
    low, high = _SENTENCE_WORDS
    return [
        each
        for each in _END.split(paragraph)
        if low <= len(each.split()) <= high and each[0].isupper() and each[-1] in ".!?"
    ]


def _grouped(sentences: list[str]) -> Iterator[str]:
    """Neighbouring sentences joined to passages; how long they are follows from the first one's digest."""
    if not sentences:
        return
    least = _PASSAGE_WORDS[_digest(sentences[0])[0] % len(_PASSAGE_WORDS)]
    passage: list[str] = []
    for sentence in sentences:
        passage.append(sentence)
        if sum(len(each.split()) for each in passage) >= least:
            yield " ".join(passage)
            passage = []
    if passage:
        yield " ".join(passage)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
