"""Texts to token ids, and token ids to the arrays of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from targets.bundle.schema import TokenizerSpec
from targets.errors import FailedRunError, IntegrityError, UsageError
from targets.runtime.backends.base import Array
from targets.runtime.frame import Encoding, frame_of, longest_first, part, window_spans
from targets.runtime.items import TextItem
from targets.runtime.limits import MAX_WINDOW_TOKENS
from targets.runtime.pieces import Tokens, tokenize, tokenizer_errors
from targets.runtime.tokenizer_guard import check_tokenizer, quiet_panics

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["DEFAULT_STRIDE", "Encoding", "TextEncoder"]

DEFAULT_STRIDE = 128


class TextEncoder:
    """A tokenizer with the bundle's own limits.

    What `tokenizer.json` says of truncation and padding is switched off: it is whatever its last user set.
    Texts are cut here, and not by the tokenizer, which would keep every combination of the pieces that two
    long texts fall into. May be used by several threads.

    Args:
        tokenizer: the tokenizer, which this object takes over.
        spec: the limits and padding to use.
        needs_type_ids: whether the model has an input `token_type_ids`.

    Raises:
        UsageError: `spec.max_length` leaves no room for text beside the special tokens.
        UnsupportedError: the tokenizer's template is not one of a BERT-like model.
        FailedRunError: the tokenizer fails on a short text.
    """

    def __init__(self, tokenizer: Tokenizer, spec: TokenizerSpec, needs_type_ids: bool) -> None:
        """Takes over a tokenizer and sets its limits aside."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        with tokenizer_errors("a short text"):
            self._single, self._pair = frame_of(tokenizer, 1), frame_of(tokenizer, 2)
        self.spec = spec
        self.needs_type_ids = needs_type_ids
        specials = len(self._pair)
        if spec.max_length <= specials + 1:
            raise UsageError(
                f"{spec.max_length} tokens leave no room for text beside {specials} special ones",
                "give a larger --max-length",
            )

    @classmethod
    def from_bytes(cls, tokenizer_json: bytes, spec: TokenizerSpec, needs_type_ids: bool) -> TextEncoder:
        """Reads a `tokenizer.json`.

        Raises:
            IntegrityError: it is not one that the installed `tokenizers` reads, or see `check_tokenizer`.
            UsageError: as for the class.
            UnsupportedError: as for the class.
        """
        from tokenizers import Tokenizer

        try:
            with quiet_panics(), tokenizer_errors("tokenizer.json"):
                tokenizer = Tokenizer.from_buffer(tokenizer_json)
                check_tokenizer(tokenizer, spec)
                return cls(tokenizer, spec, needs_type_ids)
        except FailedRunError as error:
            raise IntegrityError(
                f"tokenizer.json cannot be read: {str(error.__cause__)[:200]}",
                'try: pip install -U "tokenizers"',
            ) from error.__cause__

    @property
    def max_length(self) -> int:
        """The most tokens of one run, special tokens included."""
        return self.spec.max_length

    @property
    def vocab_size(self) -> int:
        """The number of tokens, added tokens included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    @cached_property
    def max_id(self) -> int:
        """The largest token id, added tokens included."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    def token(self, token_id: int) -> str | None:
        """The token of an id, as the vocabulary writes it; None if there is none."""
        found: str | None = self._tokenizer.id_to_token(token_id)
        return found

    def text_of(self, token_id: int) -> str:
        """The text that a token stands for, without surrounding spaces."""
        with tokenizer_errors(f"token {token_id}"):
            return str(self._tokenizer.decode([token_id], skip_special_tokens=False)).strip()

    def encode(
        self,
        items: Sequence[TextItem],
        *,
        windows: bool = False,
        stride: int = DEFAULT_STRIDE,
        first: int = 1,
    ) -> list[list[Encoding]]:
        """Tokenizes texts and pairs.

        Args:
            items: texts and pairs.
            windows: give a context that is too long several overlapping windows, each with the question
                before it; the items are then pairs (question, context). Otherwise the longer text is cut
                first. A question of more than half of the room is cut to it.
            stride: tokens that neighbouring windows share; at most half of a window's room is used.
            first: the number that errors give the first item.

        Returns:
            For each item its encodings: one, or several windows.

        Raises:
            UsageError: a text that is not valid Unicode, a single text where windows need pairs, or windows
                of more than `MAX_WINDOW_TOKENS` tokens.
            FailedRunError: the tokenizer fails on a text.
        """
        if windows and any(isinstance(item, str) for item in items):
            raise UsageError("question answering needs a question and a context", "give pairs of texts")
        owned = [(item,) if isinstance(item, str) else item for item in items]
        names = [f"text {number}" for number, own in enumerate(owned, start=first) for _ in own]
        keep = MAX_WINDOW_TOKENS if windows else self.max_length
        rest = iter(tokenize(self._tokenizer, [text for own in owned for text in own], keep, names))
        found = []
        for number, own in enumerate(owned, start=first):
            texts = [next(rest) for _ in own]
            found.append(self._windows(texts, stride, f"text {number}") if windows else [self._one(texts)])
        return found

    def collate(self, encodings: Sequence[Encoding]) -> dict[str, Array]:
        """The model's inputs for one run, padded to the longest of the group.

        Args:
            encodings: at least one.

        Returns:
            int64 arrays [len(encodings), longest] by input name.
        """
        spec = self.spec
        shape = (len(encodings), max(map(len, encodings)))
        ids = np.full(shape, spec.pad_id, dtype=np.int64)
        mask = np.zeros(shape, dtype=np.int64)
        feeds = {"input_ids": ids, "attention_mask": mask}
        if self.needs_type_ids:
            feeds["token_type_ids"] = np.full(shape, spec.pad_type_id, dtype=np.int64)
        for row, encoding in enumerate(encodings):
            place = self.place(len(encoding), shape[1])
            ids[row, place] = encoding.ids
            mask[row, place] = 1
            if self.needs_type_ids:
                feeds["token_type_ids"][row, place] = encoding.type_ids
        return feeds

    def pad(self, feeds: Mapping[str, Array], length: int) -> dict[str, Array]:
        """The model's inputs of one run, [batch, sequence], padded to `length` tokens."""
        fill = {"input_ids": self.spec.pad_id, "token_type_ids": self.spec.pad_type_id}
        padded = {}
        for name, array in feeds.items():
            wider = np.full((len(array), length), fill.get(name, 0), dtype=np.int64)
            wider[:, self.place(array.shape[1], length)] = array
            padded[name] = wider
        return padded

    def place(self, length: int, padded: int) -> slice:
        """Where the tokens of a text of `length` tokens lie in a row of `padded`."""
        return slice(padded - length, padded) if self.spec.padding_side == "left" else slice(0, length)

    def _one(self, texts: Sequence[Tokens]) -> Encoding:
        """A text or pair, the longer text cut first."""
        frame = self._single if len(texts) == 1 else self._pair
        counts = [text.count for text in texts]
        room = self.max_length - len(frame)
        kept = (min(counts[0], room),) if len(texts) == 1 else longest_first(counts[0], counts[1], room)
        cut = [part(text, 0, own) for text, own in zip(texts, kept, strict=True)]
        return frame.around(cut, sum(counts) - sum(kept))

    def _windows(self, texts: Sequence[Tokens], stride: int, name: str) -> list[Encoding]:
        """A question and its context: one encoding if both fit, or else the windows of the context."""
        question, context = texts
        room = self.max_length - len(self._pair)
        if question.count + context.count <= room:
            return [self._one(texts)]
        kept = min(question.count, room // 2)
        room -= kept
        spans = window_spans(context.count, room, min(stride, room // 2))
        most = MAX_WINDOW_TOKENS // self.max_length
        if len(spans) > most:
            raise UsageError(
                f"the context of {name} needs {len(spans)} windows of {self.max_length} tokens",
                f"cut it: at most {most} windows are run",
            )
        dropped = [question.count - kept, *[0] * (len(spans) - 1)]
        asked = part(question, 0, kept)
        return [
            self._pair.around([asked, part(context, start, end)], lost)
            for (start, end), lost in zip(spans, dropped, strict=True)
        ]
