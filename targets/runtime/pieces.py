"""Texts to the tokens of their own, in bounded memory, whatever the texts and whatever the tokenizer does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from targets.errors import BertcError, FailedRunError
from targets.runtime.items import check_unicode
from targets.runtime.limits import PIECE_CHARACTERS

if TYPE_CHECKING:
    from tokenizers import Encoding as RawEncoding
    from tokenizers import Tokenizer

Span: TypeAlias = tuple[int, int]

_SPACES: Final = " \t\r\n"
_REASON: Final = 200


@dataclass(slots=True)
class Tokens:
    """The tokens of one text, without special ones around it.

    Attributes:
        ids: token ids, of the first tokens.
        offsets: the characters [start, end) of the text that each of those stands for.
        count: how many tokens the whole text has.
    """

    ids: list[int] = field(default_factory=list)
    offsets: list[Span] = field(default_factory=list)
    count: int = 0

    def add(self, raw: RawEncoding, start: int, keep: int) -> None:
        """Appends the tokens of the piece that begins at `start`, keeping no more than `keep` in all."""
        self.count += len(raw)
        room = keep - len(self.ids)
        if room <= 0:
            return
        if len(raw) > room:
            raw.truncate(room)
        if not start:
            self.ids, self.offsets = raw.ids, raw.offsets
            return
        self.ids += raw.ids
        self.offsets += [(a + start, b + start) for a, b in raw.offsets]


class _Piece(NamedTuple):
    place: int
    start: int
    text: str


def tokenize(
    tokenizer: Tokenizer, texts: Sequence[str], keep: int, names: Sequence[str] | None = None
) -> list[Tokens]:
    """The tokens of texts.

    A text of more than `PIECE_CHARACTERS` is cut before white space, and where there is none for half as
    many characters, inside of a word.

    Args:
        tokenizer: without truncation and padding.
        texts: any texts.
        keep: the most tokens wanted of each.
        names: what errors call each; None for "text 1" and so on.

    Raises:
        UsageError: a text that is not valid Unicode.
        FailedRunError: the tokenizer fails on a text.
    """
    found = [Tokens() for _ in texts]
    for group in _groups(texts):
        try:
            encoded = _encode(tokenizer, [piece.text for piece in group])
        except BaseException as error:
            failure = _failure(error, "the texts")
            if failure is None:
                raise
            raise _blamed(tokenizer, group, names) or failure from error
        for piece, raw in zip(group, encoded, strict=True):
            found[piece.place].add(raw, piece.start, keep)
    return found


@contextmanager
def tokenizer_errors(what: str) -> Iterator[None]:
    """Turns what the tokenizer's native code raises into an error of bertc, panics included.

    Args:
        what: the tokenizer was given.

    Raises:
        FailedRunError: it raised something.
    """
    try:
        yield
    except BaseException as error:
        failure = _failure(error, what)
        if failure is None:
            raise
        raise failure from error


def _failure(error: BaseException, what: str) -> FailedRunError | None:
    """The error to raise instead; None for bertc's own, and for what ends a program."""
    if isinstance(error, BertcError) or not (isinstance(error, Exception) or _is_panic(error)):
        return None
    return FailedRunError(
        f"the tokenizer fails on {what}: {str(error)[:_REASON]}",
        'leave it out, or try: pip install -U "tokenizers"',
    )


def _is_panic(error: BaseException) -> bool:
    """Whether an error is a panic of Rust code, which is no `Exception`."""
    return (type(error).__module__, type(error).__name__) == ("pyo3_runtime", "PanicException")


def _encode(tokenizer: Tokenizer, texts: list[str]) -> list[RawEncoding]:
    return list(tokenizer.encode_batch(texts, add_special_tokens=False))


def _pieces(texts: Sequence[str]) -> Iterator[_Piece]:
    for place, text in enumerate(texts):
        start = 0
        while len(text) - start > PIECE_CHARACTERS:
            end = _cut(text, start + PIECE_CHARACTERS)
            yield _Piece(place, start, text[start:end])
            start = end
        yield _Piece(place, start, text[start:] if start else text)


def _cut(text: str, end: int) -> int:
    """Where a piece of at most `PIECE_CHARACTERS` ends: before the last white space of its second half."""
    for place in range(end, end - PIECE_CHARACTERS // 2, -1):
        if text[place] in _SPACES and not text[place - 1].isspace():
            return place
    return end


def _groups(texts: Sequence[str]) -> Iterator[list[_Piece]]:
    """The pieces of texts, as many together as the tokenizer is given at once."""
    if sum(map(len, texts)) <= PIECE_CHARACTERS:
        yield [_Piece(place, 0, text) for place, text in enumerate(texts)]
        return
    group: list[_Piece] = []
    room = PIECE_CHARACTERS
    for piece in _pieces(texts):
        if group and len(piece.text) > room:
            yield group
            group, room = [], PIECE_CHARACTERS
        group.append(piece)
        room -= len(piece.text)
    if group:
        yield group


def _blamed(tokenizer: Tokenizer, group: Sequence[_Piece], names: Sequence[str] | None) -> BertcError | None:
    """The error that names the first text which fails by itself; None if none does."""
    for piece in group:
        name = names[piece.place] if names is not None else f"text {piece.place + 1}"
        try:
            check_unicode(name, piece.text)
            with tokenizer_errors(name):
                _encode(tokenizer, [piece.text])
        except BertcError as error:
            return error
    return None
