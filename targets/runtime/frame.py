"""Tokens of texts to what a model reads: cut to its length, with the special tokens around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Final

from targets.errors import UnsupportedError
from targets.runtime.pieces import Span, Tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_PROBES: Final = ("a", "0", "!")
_MORE_PROBES: Final = 256
_NOWHERE: Final[tuple[Span, ...]] = ((0, 0),)


@dataclass(frozen=True, slots=True)
class Encoding:
    """The tokens of one text or pair, special tokens included, padding not.

    Attributes:
        ids: token ids.
        type_ids: 0 or 1 for each token.
        offsets: for each token the characters [start, end) of the original text it stands for; (0, 0) for an
            added special token. Each text of a pair counts from its own beginning.
        sequence_ids: for each token 0 for the first text, 1 for the second, None for an added special token.
        truncated: how many tokens of the text were dropped because the model reads no more.
    """

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    offsets: tuple[Span, ...]
    sequence_ids: tuple[int | None, ...]
    truncated: int = 0

    def __len__(self) -> int:
        """The number of tokens."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Frame:
    """The special tokens around a text or a pair.

    Attributes:
        specials: ids before the first text, and after each.
        special_types: their token types.
        text_types: the token type of each text.
    """

    specials: tuple[tuple[int, ...], ...]
    special_types: tuple[tuple[int, ...], ...]
    text_types: tuple[int, ...]

    def __len__(self) -> int:
        """The number of special tokens."""
        return sum(map(len, self.specials))

    def around(self, texts: Sequence[tuple[Sequence[int], Sequence[Span]]], truncated: int) -> Encoding:
        """Puts the special tokens around texts, each its ids and offsets."""
        ids, types = self.specials[0], self.special_types[0]
        offsets = _NOWHERE * len(ids)
        owners: tuple[int | None, ...] = (None,) * len(ids)
        for place, (own, spans) in enumerate(texts):
            after = self.specials[place + 1]
            ids += (*own, *after)
            types += (self.text_types[place],) * len(own) + self.special_types[place + 1]
            offsets += (*spans, *_NOWHERE * len(after))
            owners += (place,) * len(own) + (None,) * len(after)
        return Encoding(ids, types, offsets, owners, truncated)


def frame_of(tokenizer: Tokenizer, texts: int) -> Frame:
    """Finds by trying what a tokenizer puts around one text, or around two.

    Raises:
        UnsupportedError: it makes no tokens, or does not put each text once, in order.
    """
    probe = _probe(tokenizer)
    raw = tokenizer.encode(probe, probe if texts > 1 else None)
    specials: list[list[int]] = [[]]
    special_types: list[list[int]] = [[]]
    text_types: list[int] = []
    for token, kind, owner in zip(raw.ids, raw.type_ids, raw.sequence_ids, strict=True):
        if owner is None:
            specials[-1].append(token)
            special_types[-1].append(kind)
        elif owner == len(text_types):
            text_types.append(kind)
            specials.append([])
            special_types.append([])
        elif owner != len(text_types) - 1 or specials[-1]:
            raise _odd("it puts a text in two places, or the second before the first")
    if len(text_types) != texts:
        raise _odd("it leaves out a text")
    return Frame(tuple(map(tuple, specials)), tuple(map(tuple, special_types)), tuple(text_types))


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of two texts are kept: the longer one is cut to the other's length, then both.

    As `longest_first` of Hugging Face's tokenizers: of an odd room the longer text has the odd token, the
    second one of equals.
    """
    if first + second <= room:
        return first, second
    short, long = min(first, second), max(first, second)
    long = short if short > room else max(short, room - short)
    if short + long > room:
        short = room // 2
        long = short + room % 2
    return (long, short) if first > second else (short, long)


def window_spans(count: int, room: int, overlap: int) -> list[Span]:
    """Where windows of `room` tokens begin and end in `count` tokens, neighbours sharing `overlap`."""
    begins = range(0, max(count - overlap, 1), room - overlap)
    return [(begin, min(begin + room, count)) for begin in begins]


def part(tokens: Tokens, start: int, end: int) -> tuple[list[int], list[Span]]:
    """Some of a text's tokens."""
    if start == 0 and end >= len(tokens.ids):
        return tokens.ids, tokens.offsets
    return tokens.ids[start:end], tokens.offsets[start:end]


def _probe(tokenizer: Tokenizer) -> str:
    """A text that the tokenizer makes tokens of."""
    for text in chain(_PROBES, _words(tokenizer)):
        if len(tokenizer.encode(text, add_special_tokens=False)):
            return text
    raise _odd("it makes no tokens of any text")


def _words(tokenizer: Tokenizer) -> Iterator[str]:
    yield from islice(tokenizer.get_vocab(), _MORE_PROBES)


def _odd(how: str) -> UnsupportedError:
    return UnsupportedError(
        f"the tokenizer's template is not one of a BERT-like model: {how}",
        "use the checkpoint's own tokenizer",
    )
