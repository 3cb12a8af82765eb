"""Predictions in words, for people."""

from __future__ import annotations

import json
import re
import sys
from typing import Final

import numpy as np

from targets.runtime.items import TextItem
from targets.runtime.tasks import (
    Answer,
    Classification,
    Embedding,
    FillMask,
    MultiLabel,
    Prediction,
    Regression,
    TokenClassification,
)

_WIDTH = 80
_SHOWN_VALUES = 6
_JOINERS: Final = "\u200c\u200d"
# DEL and the C1 controls, marks that reorder text, separators of lines, and the byte order mark.
_UNSAFE: Final = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def describe(item: TextItem, prediction: Prediction) -> str:
    """One line, or a line and what belongs under it, for a text and its prediction."""
    text = " | ".join(shown(part) for part in ((item,) if isinstance(item, str) else item))
    match prediction:
        case Classification(label, score):
            return f"{shown(label)} {score:.4f}  {text}"
        case MultiLabel(labels, scores):
            named = ", ".join(f"{shown(label)} {scores[label]:.4f}" for label in labels)
            return f"{named or '(none)'}  {text}"
        case Regression(score):
            return f"{score:.4f}  {text}"
        case Answer(answer, score, start, end):
            return f"{shown(answer) or '(none)'}  {score:.4f}  [{start}:{end}]  {shown(item[0])}"
        case TokenClassification(entities):
            rows = [
                f"  {shown(entity.label)} {entity.score:.4f}  [{entity.start}:{entity.end}]  "
                f"{shown(entity.text)}"
                for entity in entities
            ]
            return "\n".join([text, *(rows or ["  (none)"])])
        case FillMask(candidates):
            rows = [f"  {found.score:.4f}  {shown(found.sequence)}" for mask in candidates for found in mask]
            return "\n".join([text, *rows])
        case Embedding(embedding):
            values = " ".join(f"{value:.4f}" for value in embedding[:_SHOWN_VALUES])
            return f"{len(embedding)} values, norm {np.linalg.norm(embedding):.4f}: {values} ...  {text}"


def json_line(document: object) -> str:
    """A JSON document on one line, with what a terminal could take for a command written as escapes.

    JSON itself escapes the control characters of ASCII alone.
    """
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(document, ensure_ascii=plain, allow_nan=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown(text: str) -> str:
    """The text on one line, cut to 80 characters, without control characters."""
    line = "".join(
        char if char.isprintable() or char in _JOINERS else " "
        for char in " ".join(text[: 4 * _WIDTH].split())
    )
    return line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..."
