"""Which column is the text, the second text and the label: as asked, or by the field's conventions."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from calibration.examples import DataOptions
from targets.errors import UsageError

PAIRS: Final = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "context"),
    ("question", "passage"),
    ("question", "sentence"),
    ("query", "passage"),
    ("query", "document"),
    ("query", "text"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
    ("text", "text_pair"),
)
SINGLES: Final = (
    "text", "sentence", "content", "review", "review_text", "comment", "comment_text", "tweet", "body",
    "document", "passage", "utterance", "message", "sms", "phrase", "abstract", "description", "context",
    "headline", "title", "question", "query",
)  # fmt: skip
LABELS: Final = (
    "label", "labels", "score", "similarity_score", "target", "gold_label", "class", "category", "intent",
    "sentiment", "rating", "stars", "relatedness_score", "similarity", "is_duplicate",
)  # fmt: skip
SCORES: Final = ("score", "similarity_score", "relatedness_score", "similarity")
TOKENS: Final = ("tokens", "words")
TAGS: Final = ("ner_tags", "tags", "labels", "label", "pos_tags", "chunk_tags")
CONTEXTS: Final = ("context", "passage", "paragraph")
ANSWERS: Final = ("answers", "answer", "answer_text")
IDS: Final = ("id", "idx", "guid", "qid")


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """Names of the columns that are read; `text` and `tokens` are never both None."""

    text: str | None = None
    text_pair: str | None = None
    label: tuple[str, ...] = ()
    tokens: str | None = None
    tags: str | None = None
    answers: str | None = None
    id: str | None = None


class _Finder:
    def __init__(self, source: str, columns: Sequence[str]) -> None:
        self.source = source
        self.columns = columns
        self._folded = {name.casefold(): name for name in reversed(columns)}

    def first(self, names: Sequence[str]) -> str | None:
        return next((self._folded[name] for name in names if name in self._folded), None)

    def pair(self) -> tuple[str, str] | None:
        return next(
            ((self._folded[a], self._folded[b]) for a, b in PAIRS if a in self._folded and b in self._folded),
            None,
        )

    def asked(self, name: str, flag: str) -> str:
        if name in self.columns:
            return name
        if name.casefold() in self._folded:
            return self._folded[name.casefold()]
        near = difflib.get_close_matches(name, self.columns, n=1)
        guess = f" (nearest: {near[0]!r})" if near else ""
        raise UsageError(f"{self.source}: no column {name!r}{guess}; columns: {self.listed()}", f"set {flag}")

    def missing(self, what: str, flag: str) -> UsageError:
        return UsageError(
            f"{self.source}: no column is known to hold the {what}; columns: {self.listed()}",
            f"name it with {flag}; in .csv and .tsv files the first line must name the columns",
        )

    def listed(self) -> str:
        return ", ".join(repr(name) for name in self.columns)


def resolve_columns(source: str, columns: Sequence[str], task: str, options: DataOptions) -> ColumnMap:
    """Decide what to read from `columns` for a task.

    Args:
        source: name of the data, for messages.
        columns: the columns there are.
        task: one of `targets.spec.TASKS`.
        options: columns asked for by name; these win, and must exist.

    Raises:
        UsageError: a column asked for is not there, or none is known to hold the text; the message
            lists the columns.
    """
    find = _Finder(source, columns)
    if task == "question-answering":
        found = _question_columns(find, options)
    elif task == "token-classification":
        found = _token_columns(find, options)
    else:
        found = _text_columns(find, options, task)
    return replace(found, id=find.first(IDS))


def _texts(find: _Finder, options: DataOptions, *, prefer_single: bool) -> tuple[str, str | None]:
    pair = options.text_pair_column
    second = find.asked(pair, "--text-pair-column") if pair is not None else None
    if options.text_column is not None:
        return find.asked(options.text_column, "--text-column"), second
    known = find.pair() if second is None and not prefer_single else None
    if known is not None:
        return known
    taken = second.casefold() if second is not None else None
    partners = [a for a, b in PAIRS if b == taken]
    single = find.first([name for name in (*partners, *SINGLES, *(a for a, _ in PAIRS)) if name != taken])
    if single is None:
        raise find.missing("text", "--text-column")
    return single, second


def _text_columns(find: _Finder, options: DataOptions, task: str) -> ColumnMap:
    text, pair = _texts(find, options, prefer_single=task == "fill-mask")
    used = {text, pair}
    if options.label_column is not None:
        return ColumnMap(text, pair, _asked_labels(find, options.label_column))
    if task == "fill-mask":
        return ColumnMap(text, pair)
    label = find.first((*SCORES, *LABELS) if task == "feature-extraction" else LABELS)
    return ColumnMap(text, pair, (label,) if label is not None and label not in used else ())


def _asked_labels(find: _Finder, asked: str) -> tuple[str, ...]:
    if "," not in asked or asked in find.columns:
        return (find.asked(asked, "--label-column"),)
    return tuple(find.asked(name.strip(), "--label-column") for name in asked.split(","))


def _token_columns(find: _Finder, options: DataOptions) -> ColumnMap:
    asked = options.text_column
    tokens = find.asked(asked, "--text-column") if asked is not None else find.first(TOKENS)
    if tokens is None:
        text, _ = _texts(find, options, prefer_single=True)
        return ColumnMap(text)
    if options.label_column is not None:
        return ColumnMap(tokens=tokens, tags=find.asked(options.label_column, "--label-column"))
    usual = TAGS if tokens.casefold() in TOKENS else [name for name in TAGS if "tags" in name]
    return ColumnMap(tokens=tokens, tags=find.first(usual))


def _question_columns(find: _Finder, options: DataOptions) -> ColumnMap:
    question = (
        find.asked(options.text_column, "--text-column")
        if options.text_column is not None
        else find.first(("question", "query"))
    )
    context = (
        find.asked(options.text_pair_column, "--text-pair-column")
        if options.text_pair_column is not None
        else find.first(CONTEXTS)
    )
    if question is None:
        raise find.missing("question", "--text-column")
    if context is None:
        raise find.missing("context", "--text-pair-column")
    answers = (
        find.asked(options.label_column, "--label-column")
        if options.label_column is not None
        else find.first(ANSWERS)
    )
    return ColumnMap(question, context, answers=answers)
