"""What one row of a data set says, in the same words for every task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Scalar: TypeAlias = int | float | str
LabelValue: TypeAlias = Scalar | tuple[Scalar, ...] | None


@dataclass(frozen=True, slots=True)
class Example:
    """One text or pair of texts, with what is known about it.

    Attributes:
        text: the text; for question answering the question; for tokens, they joined by blanks.
        text_pair: the second text, or the context of a question.
        label: as the file has it (name, id, number, several); see `calibration.labels`.
        tokens: words that are already split, for token classification.
        tags: one tag per token, as the file has it (name or id).
        answers: accepted answers of a question; empty when the context holds none; None when unknown.
        id: the row's own identifier, where the file has one.
        row: line or record number in the source, from 1; 0 when not from a file.
    """

    text: str
    text_pair: str | None = None
    label: LabelValue = None
    tokens: tuple[str, ...] | None = None
    tags: tuple[int | str, ...] | None = None
    answers: tuple[str, ...] | None = None
    id: str | None = None
    row: int = 0


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Which columns to read; what is None is found by the field's conventions.

    Attributes:
        text_column: first text. Given alone it means single texts, except for question answering.
        text_pair_column: second text.
        label_column: label, tags (token classification) or answers (question answering); several
            names separated by commas are 0/1 columns of one multi-label row.
        split: split of a `datasets` name; "train" when neither this nor the name says it.
    """

    text_column: str | None = None
    text_pair_column: str | None = None
    label_column: str | None = None
    split: str | None = None
