"""Entities in sequences of tags, and their F1, by the rules of conlleval that seqeval follows by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from targets.errors import InternalError

_SAME_AS = {"B": "B", "I": "I", "E": "E", "S": "S", "O": "O", "L": "E", "U": "S", "M": "I"}


class Span(NamedTuple):
    """An entity over words ``start`` to ``end - 1``."""

    label: str
    start: int
    end: int


def entity_spans(tags: Sequence[str]) -> list[Span]:
    """Entities of one sequence of BIO, IOB, BIOES, BILOU or BMES tags.

    An entity also starts at an inside tag that follows none of its own label, and ends where the label
    changes. A tag without a prefix is an inside tag.
    """
    spans: list[Span] = []
    opened: tuple[str, int] | None = None
    for i, tag in enumerate(tags):
        prefix, label = _split(tag)
        if opened is not None and (prefix in "BSO" or label != opened[0]):
            spans.append(Span(*opened, i))
            opened = None
        if prefix != "O" and opened is None:
            opened = label, i
        if opened is not None and prefix in "ES":
            spans.append(Span(*opened, i + 1))
            opened = None
    if opened is not None:
        spans.append(Span(*opened, len(tags)))
    return spans


def entity_counts(predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Right, predicted and true entities of each sequence, int64 [sequences, 3].

    An entity is right if its label and both its ends are.
    """
    if len(predicted) != len(gold) or any(len(a) != len(b) for a, b in zip(predicted, gold, strict=False)):
        raise InternalError("tags of different lengths are compared", "report this")
    rows = []
    for said, true in zip(predicted, gold, strict=True):
        a, b = set(entity_spans(said)), set(entity_spans(true))
        rows.append((len(a & b), len(a), len(b)))
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def entity_f1_of(counts: ArrayLike) -> float:
    """Micro F1 of rows that `entity_counts` gave; 0 where there are no entities at all."""
    right, said, true = np.asarray(counts).reshape(-1, 3).sum(axis=0)
    return float(2.0 * right / (said + true)) if said + true else 0.0


def entity_f1(predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> float:
    """Micro F1 of the entities of all sequences together."""
    return entity_f1_of(entity_counts(predicted, gold))


def _split(tag: str) -> tuple[str, str]:
    """Prefix among B, I, E, S, O, and label."""
    head, dash, label = tag.partition("-")
    if head in _SAME_AS and (dash or len(tag) == 1):
        return _SAME_AS[head], label
    return "I", tag
