"""Extractive question answering: the best span of the context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from targets.runtime.inference import Inference, Window
from targets.runtime.tasks.scores import softmax, strip_span

MAX_ANSWER_TOKENS = 30


@dataclass(frozen=True, slots=True)
class Answer:
    """A span of the context: `answer == context[start:end]`; empty where the context is."""

    answer: str
    score: float
    start: int
    end: int

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {"answer": self.answer, "score": self.score, "start": self.start, "end": self.end}


@dataclass(frozen=True, slots=True)
class _Span:
    logit: float
    score: float
    start: int
    end: int


def decode(inference: Inference, *, max_tokens: int = MAX_ANSWER_TOKENS) -> Answer:
    """Finds the span with the largest sum of start and end logit over all windows.

    As in Devlin et al. 2019, section 4.2: the span lies in the context and its end is not before its start.
    The score is the product of its two softmax probabilities over the context tokens of its window.

    Args:
        inference: of a pair (question, context), with `start_logits` and `end_logits` [tokens].
        max_tokens: the longest answer in tokens.
    """
    context = inference.item[1]
    best: _Span | None = None
    for window in inference.windows:
        positions = _context(window)
        if not len(positions):
            continue
        start = np.asarray(window.outputs["start_logits"][positions], dtype=np.float64)
        end = np.asarray(window.outputs["end_logits"][positions], dtype=np.float64)
        found = _best_span(window, positions, start, end, max_tokens)
        if best is None or found.logit > best.logit:
            best = found
    if best is None:
        return Answer("", 0.0, 0, 0)
    first, last = strip_span(context, best.start, best.end)
    return Answer(context[first:last], best.score, first, last)


def _context(window: Window) -> NDArray[np.int64]:
    """The positions of the context's tokens, without those of no characters."""
    encoding = window.encoding
    pairs = zip(encoding.sequence_ids, encoding.offsets, strict=True)
    keep = [index for index, (owner, (start, end)) in enumerate(pairs) if owner == 1 and end > start]
    return np.asarray(keep, dtype=np.int64)


def _best_span(
    window: Window,
    positions: NDArray[np.int64],
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    max_tokens: int,
) -> _Span:
    count = len(start)
    width = min(max_tokens, count)
    padded = np.concatenate([end, np.full(width - 1, -np.inf)])
    sums = start[:, None] + np.lib.stride_tricks.sliding_window_view(padded, width)
    first, length = divmod(int(np.argmax(sums)), width)
    last = first + length
    offsets = window.encoding.offsets
    return _Span(
        logit=float(sums[first, length]),
        score=float(softmax(start)[first] * softmax(end)[last]),
        start=offsets[positions[first]][0],
        end=offsets[positions[last]][1],
    )
