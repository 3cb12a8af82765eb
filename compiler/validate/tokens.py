"""Token classification: entities over words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration import (
    IGNORED_TAG,
    Example,
    Interval,
    entity_counts,
    entity_f1_of,
    paired_bootstrap_metric,
)
from compiler.validate.evaluator import Evaluator, has_shape
from compiler.validate.outputs import Predictions, Progress, check_finite
from targets.runtime.session import Session
from targets.runtime.tasks import TokenLabels, token_labels
from targets.runtime.tasks.token_classification import parse_tag

Words: TypeAlias = tuple[tuple[int, int], ...]

_OUTSIDE: Final = "O"
_WORD: Final = re.compile(r"\S+")


class TokenEvaluator(Evaluator):
    """A label for every word: entity F1, and the share of words labelled right.

    A word has the label of the first token that overlaps it, and `O` where the model did not read it. Words
    whose tag is -100 are not scored. Agreement is the share of equal word labels. Predictions: `labels`
    int32, the words of all texts one after another (-1 for `O` if the model has no such label), and
    `lengths` int64 [texts].
    """

    def __init__(
        self,
        texts: Sequence[str],
        words: Sequence[Words],
        gold: Sequence[tuple[int, ...]] | None,
        labels: tuple[str, ...],
        *,
        seed: int = 0,
    ) -> None:
        """Takes the texts, the character spans of their words, and a tag id for each, if there are tags."""
        tags = None if gold is None else [list(row) for row in gold]
        rows = [[spans, tags[i] if tags is not None else None] for i, spans in enumerate(words)]
        super().__init__("token-classification", "entity_f1", texts, rows, seed=seed)
        self.labelled = gold is not None
        self.metric = "agreement" if gold is None else "entity_f1"
        self._texts = tuple(texts)
        self._words = tuple(words)
        self._outside = labels.index(_OUTSIDE) if _OUTSIDE in labels else -1
        self._tags = (*map(_tag, labels), _OUTSIDE)
        self._lengths = np.array([len(spans) for spans in words], dtype=np.int64)
        self._gold = None if gold is None else _concatenate([np.array(row, dtype=np.int32) for row in gold])

    def predict(self, session: Session, progress: Progress | None = None) -> Predictions:
        """Runs the data and keeps a label for each word."""
        found: list[NDArray[np.int32]] = [np.empty(0, dtype=np.int32)] * self.n
        for index, inference in session.stream(self._texts, progress):
            check_finite(inference.windows[0].outputs["logits"], index)
            found[index] = word_labels(token_labels(inference), self._words[index], self._outside)
        return {"labels": _concatenate(found), "lengths": self._lengths}

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Micro F1 of the entities, and accuracy over words."""
        if self._gold is None:
            return {}
        kept = self._gold != IGNORED_TAG
        hits = predictions["labels"][kept] == self._gold[kept]
        return {
            "entity_f1": entity_f1_of(self._entities(predictions, self._gold)),
            "accuracy": float(np.mean(hits)) if len(hits) else 0.0,
        }

    def agreement(self, baseline: Predictions, compiled: Predictions) -> float:
        """Share of words with the same label."""
        return _share(self._equal(baseline, compiled))

    def interval(self, baseline: Predictions, compiled: Predictions) -> Interval:
        """Of the difference of entity F1, or of the agreement below 1; texts are drawn, not words."""
        if self._gold is None:
            same = self._equal(baseline, compiled)
            return paired_bootstrap_metric(
                lambda _: 1.0, lambda rows: _share(same[rows]), self.n, seed=self.seed
            )
        a, b = (self._entities(side, self._gold) for side in (baseline, compiled))
        return paired_bootstrap_metric(
            lambda rows: entity_f1_of(a[rows]), lambda rows: entity_f1_of(b[rows]), self.n, seed=self.seed
        )

    def fits(self, predictions: Predictions) -> bool:
        """Whether every word has one of the model's labels."""
        if not has_shape(predictions, "labels", (int(self._lengths.sum()),)):
            return False
        ids, lengths = predictions["labels"], predictions.get("lengths", np.empty(0))
        in_range = np.all((ids >= -1) & (ids < len(self._tags) - 1))
        return bool(ids.dtype.kind == "i" and in_range and np.array_equal(lengths, self._lengths))

    def _equal(self, baseline: Predictions, compiled: Predictions) -> NDArray[np.int64]:
        """Equal and all words of each text, int64 [texts, 2]."""
        same = np.concatenate([[0], np.cumsum(baseline["labels"] == compiled["labels"])])
        ends = np.cumsum(self._lengths)
        return np.stack([same[ends] - same[ends - self._lengths], self._lengths], axis=1).astype(np.int64)

    def _entities(self, predictions: Predictions, gold: NDArray[np.int32]) -> NDArray[np.int64]:
        ends = np.cumsum(self._lengths)[:-1]
        said, true = [], []
        for a, b in zip(np.split(predictions["labels"], ends), np.split(gold, ends), strict=True):
            kept = b != IGNORED_TAG
            said.append([self._tags[i] for i in a[kept]])
            true.append([self._tags[i] for i in b[kept]])
        return entity_counts(said, true)


def split_words(example: Example) -> tuple[str, Words]:
    """A row's text, and the character spans of its words: its tokens, or what lies between white space."""
    if example.tokens is None:
        return example.text, tuple(match.span() for match in _WORD.finditer(example.text))
    spans = []
    start = 0
    for token in example.tokens:
        spans.append((start, start + len(token)))
        start += len(token) + 1
    return " ".join(example.tokens), tuple(spans)


def word_labels(tokens: TokenLabels, words: Words, outside: int) -> NDArray[np.int32]:
    """The label of the first token that overlaps each word, int32 [words]; `outside` where none does."""
    labels = np.full(len(words), outside, dtype=np.int32)
    offsets, ids = tokens.offsets, tokens.ids
    token = 0
    for i, (start, end) in enumerate(words):
        while token < len(offsets) and offsets[token][1] <= start:
            token += 1
        if start < end and token < len(offsets) and offsets[token][0] < end:
            labels[i] = ids[token]
    return labels


def _tag(name: str) -> str:
    """A label name in the spelling that entities are counted by: `B-PER`, also for `B_PER`."""
    tag = parse_tag(name)
    return f"{tag[0]}-{tag[1]}" if tag is not None and tag[0] else name


def _share(counts: NDArray[np.int64]) -> float:
    equal, words = counts.sum(axis=0).tolist()
    return equal / words if words else 1.0


def _concatenate(rows: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    return np.concatenate([np.empty(0, dtype=np.int32), *rows])
