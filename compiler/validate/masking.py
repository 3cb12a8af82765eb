"""Hides one token of each text, so that fill-mask can be evaluated on any text."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from targets.errors import UsageError
from targets.runtime.items import TextItem
from targets.runtime.tokenize import Encoding, TextEncoder

UNKNOWN: Final = -1
_CHUNK: Final = 1024
_ATTEMPTS: Final = 16
_UNKNOWN_TOKENS: Final = frozenset({"[UNK]", "<unk>"})


@dataclass(frozen=True, slots=True)
class Masked:
    """A text with a mask, and the id of the token that was there; -1 if the text came with its mask."""

    item: TextItem
    gold: int


def mask_items(items: Sequence[TextItem], encoder: TextEncoder, *, seed: int = 0) -> list[Masked | None]:
    """Replaces one token of each text, or of a pair's first text, by the tokenizer's mask token.

    The token is drawn among those that the model reads and whose masking leaves every other token as it
    was. A text that has a mask already is kept as it is.

    Args:
        items: texts and pairs.
        encoder: of the model.
        seed: of the draws.

    Returns:
        For each item its masked form; None where no token can be masked (an empty text).

    Raises:
        UsageError: the tokenizer has no mask token.
    """
    mask = encoder.spec.mask_token_id
    token = encoder.token(mask) if mask is not None else None
    if mask is None or token is None:
        raise UsageError("the model's tokenizer has no mask token", "compile it for another task")
    rng = random.Random(seed)
    result: list[Masked | None] = []
    for start in range(0, len(items), _CHUNK):
        result += _Chunk(items[start : start + _CHUNK], encoder, mask, token, rng).masked()
    return result


class _Chunk:
    def __init__(
        self, items: Sequence[TextItem], encoder: TextEncoder, mask: int, token: str, rng: random.Random
    ) -> None:
        self.items = items
        self.encoder = encoder
        self.mask = mask
        self.token = token
        self.rng = rng
        self.encodings = [windows[0] for windows in encoder.encode(items)]

    def masked(self) -> list[Masked | None]:
        found: list[Masked | None] = [None] * len(self.items)
        pending: dict[int, Iterator[int]] = {}
        for i, encoding in enumerate(self.encodings):
            if self.mask in encoding.ids:
                found[i] = Masked(self.items[i], UNKNOWN)
            else:
                pending[i] = iter(self._candidates(encoding))
        while pending:
            tried = {i: place for i, places in pending.items() if (place := next(places, None)) is not None}
            hidden = [
                _replace(self.items[i], self.encodings[i], place, self.token) for i, place in tried.items()
            ]
            for (i, place), item, windows in zip(
                tried.items(), hidden, self.encoder.encode(hidden), strict=True
            ):
                ids = self.encodings[i].ids
                if windows[0].ids == (*ids[:place], self.mask, *ids[place + 1 :]):
                    found[i] = Masked(item, ids[place])
            pending = {i: pending[i] for i in tried if found[i] is None}
        return found

    def _candidates(self, encoding: Encoding) -> list[int]:
        """Positions of the first text's own tokens, in a random order."""
        places = [
            place
            for place, (owner, (start, end)) in enumerate(
                zip(encoding.sequence_ids, encoding.offsets, strict=True)
            )
            if owner == 0 and end > start and self.encoder.token(encoding.ids[place]) not in _UNKNOWN_TOKENS
        ]
        return self.rng.sample(places, min(_ATTEMPTS, len(places)))


def _replace(item: TextItem, encoding: Encoding, place: int, token: str) -> TextItem:
    start, end = encoding.offsets[place]
    if isinstance(item, str):
        return item[:start] + token + item[end:]
    return item[0][:start] + token + item[0][end:], item[1]
