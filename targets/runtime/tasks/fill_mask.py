"""Masked language modelling: candidates for each mask of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from targets.errors import UsageError
from targets.runtime.backends.base import Array
from targets.runtime.inference import Inference
from targets.runtime.limits import MAX_FILLED_CHARACTERS
from targets.runtime.tasks.scores import softmax, strip_span
from targets.runtime.tokenize import TextEncoder


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token for one mask, its probability, and the text with it in the mask's place."""

    token: str
    token_id: int
    score: float
    sequence: str

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {
            "token": self.token,
            "token_id": self.token_id,
            "score": self.score,
            "sequence": self.sequence,
        }


@dataclass(frozen=True, slots=True)
class FillMask:
    """For each mask of the text, in reading order, its candidates, likeliest first."""

    candidates: tuple[tuple[Candidate, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {"candidates": [[item.to_dict() for item in mask] for mask in self.candidates]}


def decode(inference: Inference, encoder: TextEncoder, *, top_k: int = 5) -> FillMask:
    """Ranks the vocabulary for each mask.

    Args:
        inference: with `logits` [tokens, vocabulary].
        encoder: names the tokens, and knows the mask's id.
        top_k: candidates of each mask.

    Raises:
        UsageError: the tokenizer has no mask token; the text, as far as the model reads it, has no mask; or
            the candidates' texts would be longer than `MAX_FILLED_CHARACTERS` together.
    """
    window = inference.windows[0]
    places = mask_positions(inference, encoder)
    names = (inference.item,) if isinstance(inference.item, str) else inference.item
    _check_written(len(places), min(top_k, encoder.vocab_size), names)
    masks = []
    for place in places:
        text = names[window.encoding.sequence_ids[place] or 0]
        start, end = strip_span(text, *window.encoding.offsets[place])
        masks.append(_candidates(window.outputs["logits"][place], text, start, end, encoder, top_k))
    return FillMask(tuple(masks))


def _check_written(masks: int, top_k: int, texts: tuple[str, ...]) -> None:
    longest = max(map(len, texts))
    written = masks * top_k * longest
    if written > MAX_FILLED_CHARACTERS:
        raise UsageError(
            f"{top_k} candidates for each of {masks} masks in the text {texts[0][:40]!r}",
            f"cut it or lower top_k: they would be {written} characters, of {MAX_FILLED_CHARACTERS} at most",
        )


def mask_positions(inference: Inference, encoder: TextEncoder) -> list[int]:
    """The positions of a text's masks among its tokens.

    Raises:
        UsageError: as for `decode`.
    """
    mask = encoder.spec.mask_token_id
    if mask is None:
        raise UsageError("the model's tokenizer has no mask token", "compile it for another task")
    encoding = inference.windows[0].encoding
    places = [index for index, token in enumerate(encoding.ids) if token == mask]
    if places:
        return places
    first = inference.item if isinstance(inference.item, str) else inference.item[0]
    where = f" in the first {encoder.max_length} tokens" if encoding.truncated else ""
    raise UsageError(
        f"there is no {encoder.token(mask)}{where} of the text {first[:40]!r}",
        f"write {encoder.token(mask)} where a word is wanted",
    )


def _candidates(
    logits: Array, text: str, start: int, end: int, encoder: TextEncoder, top_k: int
) -> tuple[Candidate, ...]:
    chances = softmax(logits[: encoder.vocab_size])
    count = min(top_k, len(chances))
    best = np.argpartition(-chances, count - 1)[:count]
    ranked = sorted((-float(chances[index]), int(index)) for index in best)
    found = []
    for chance, token in ranked:
        word = encoder.text_of(token)
        found.append(Candidate(word, token, -chance, text[:start] + word + text[end:]))
    return tuple(found)
