"""Token classification: entities with character offsets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from targets.bundle.schema import TaskConfig
from targets.runtime.inference import Inference
from targets.runtime.tasks.scores import label_names, softmax, strip_span

_TAG = re.compile(r"([BIESLU])[-_](.+)", re.DOTALL)
_OUTSIDE = "O"

# Scripts written without spaces between words, and Hangul: every token is labelled for itself.
_UNSPACED = re.compile(
    "["
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han, Hiragana, Katakana
    "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"  # Hangul, whose particles are written onto the name
    "]"
)


@dataclass(frozen=True, slots=True)
class Entity:
    """A span of the text: `text == source[start:end]`, and the mean probability of its words' labels."""

    label: str
    score: float
    start: int
    end: int
    text: str

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {
            "label": self.label,
            "score": self.score,
            "start": self.start,
            "end": self.end,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True)
class TokenClassification:
    """The entities of a text, in reading order."""

    entities: tuple[Entity, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {"entities": [entity.to_dict() for entity in self.entities]}


@dataclass(frozen=True, slots=True)
class TokenLabels:
    """The labels of a text's own tokens, in order; special tokens and those of no characters are left out.

    Attributes:
        ids: the likeliest label of each token, int64 [tokens].
        scores: its probability, float64 [tokens].
        offsets: the characters [start, end) of each token.
    """

    ids: NDArray[np.int64]
    scores: NDArray[np.float64]
    offsets: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Word:
    label: int
    score: float
    start: int
    end: int


def token_labels(inference: Inference) -> TokenLabels:
    """The label of each token of a text.

    Args:
        inference: with `logits` [tokens, labels].
    """
    window = inference.windows[0]
    encoding = window.encoding
    keep = [
        index
        for index, (owner, (start, end)) in enumerate(
            zip(encoding.sequence_ids, encoding.offsets, strict=True)
        )
        if owner is not None and end > start
    ]
    chances = softmax(window.outputs["logits"][keep])
    ids = chances.argmax(axis=-1).astype(np.int64)
    return TokenLabels(ids, chances.max(axis=-1, initial=0.0), tuple(encoding.offsets[i] for i in keep))


def decode(inference: Inference, config: TaskConfig) -> TokenClassification:
    """Merges token labels into entities.

    A word takes the label of its first token, the one that training labels; its other tokens may never
    have been trained. Words are joined by their BIO or BIOES (BILOU) tags: B, S and U open an entity, E, L,
    S and U close it, and I continues one of its own type or opens one. Labels without such tags are joined
    when they are equal and stand side by side, if the model has an `O` label; without one every word is an
    entity of its own.

    Args:
        inference: of one text.
        config: the label names.
    """
    text = inference.item if isinstance(inference.item, str) else inference.item[0]
    names = label_names(config.labels, int(inference.windows[0].outputs["logits"].shape[-1]))
    tags = [parse_tag(name) for name in names]
    joins = _OUTSIDE in names or any(tag and tag[0] for tag in tags)
    entities = [
        _entity(text, label, words)
        for label, words in _spans(_words(text, token_labels(inference)), tags, joins)
    ]
    return TokenClassification(tuple(entity for entity in entities if entity.end > entity.start))


def parse_tag(name: str) -> tuple[str, str] | None:
    """The tag and type of a label name: `B-PER` is ("B", "PER"), `PER` is ("", "PER"), `O` is None."""
    if name == _OUTSIDE:
        return None
    match = _TAG.fullmatch(name)
    return (match[1], match[2]) if match else ("", name)


def _words(text: str, labels: TokenLabels) -> list[_Word]:
    words: list[_Word] = []
    for label, score, (start, end) in zip(
        labels.ids.tolist(), labels.scores.tolist(), labels.offsets, strict=True
    ):
        if words and _continues(text, words[-1].end, start):
            last = words[-1]
            words[-1] = _Word(last.label, last.score, last.start, max(end, last.end))
        else:
            words.append(_Word(label, score, start, end))
    return words


def _continues(text: str, end: int, start: int) -> bool:
    """Whether a token at `start` belongs to the word that ends at `end`."""
    if start != end:
        return start < end
    return _in_word(text[end - 1]) and _in_word(text[start])


def _in_word(character: str) -> bool:
    """Whether a character is a letter, digit or mark of a script with spaces between words."""
    return unicodedata.category(character)[0] in "LNM" and not _UNSPACED.match(character)


def _spans(
    words: Sequence[_Word], tags: Sequence[tuple[str, str] | None], joins: bool
) -> Iterator[tuple[str, list[_Word]]]:
    label = ""
    span: list[_Word] = []
    for word in words:
        tag = tags[word.label]
        opens = tag is None or tag[0] in ("B", "S", "U") or tag[1] != label or not joins
        if opens and span:
            yield label, span
            span = []
        if tag is None:
            continue
        label = tag[1]
        span.append(word)
        if tag[0] in ("E", "L", "S", "U"):
            yield label, span
            span = []
    if span:
        yield label, span


def _entity(text: str, label: str, words: list[_Word]) -> Entity:
    start, end = strip_span(text, words[0].start, words[-1].end)
    score = sum(word.score for word in words) / len(words)
    return Entity(label, score, start, end, text[start:end])
