"""Texts to token ids, and token ids to the arrays of one run."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from targets.bundle.schema import TokenizerSpec
from targets.errors import IntegrityError, UsageError
from targets.runtime.backends.base import Array
from targets.runtime.items import TextItem, invalid_unicode

if TYPE_CHECKING:
    from tokenizers import Encoding as RawEncoding
    from tokenizers import Tokenizer

DEFAULT_STRIDE = 128


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
    offsets: tuple[tuple[int, int], ...]
    sequence_ids: tuple[int | None, ...]
    truncated: int = 0

    def __len__(self) -> int:
        """The number of tokens."""
        return len(self.ids)


class TextEncoder:
    """A tokenizer with the bundle's own limits.

    What `tokenizer.json` says of truncation and padding is switched off: it is whatever its last user set.

    Args:
        tokenizer: the tokenizer, which this object takes over.
        spec: the limits and padding to use.
        needs_type_ids: whether the model has an input `token_type_ids`.

    Raises:
        UsageError: `spec.max_length` leaves no room for text beside the special tokens.
    """

    def __init__(self, tokenizer: Tokenizer, spec: TokenizerSpec, needs_type_ids: bool) -> None:
        """Takes over a tokenizer and sets its limits aside."""
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self._pair_specials = tokenizer.num_special_tokens_to_add(True)
        self.spec = spec
        self.needs_type_ids = needs_type_ids
        if spec.max_length <= self._pair_specials + 1:
            raise UsageError(
                f"{spec.max_length} tokens leave no room for text beside {self._pair_specials} special ones",
                "give a larger --max-length",
            )

    @classmethod
    def from_bytes(cls, tokenizer_json: bytes, spec: TokenizerSpec, needs_type_ids: bool) -> TextEncoder:
        """Reads a `tokenizer.json`.

        Raises:
            IntegrityError: it is not one that the installed `tokenizers` reads.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(tokenizer_json.decode("utf-8"))
        except Exception as error:  # tokenizers raises a bare Exception
            raise IntegrityError(
                f"tokenizer.json cannot be read: {str(error)[:200]}", 'try: pip install -U "tokenizers"'
            ) from error
        return cls(tokenizer, spec, needs_type_ids)

    @property
    def max_length(self) -> int:
        """The most tokens of one run, special tokens included."""
        return self.spec.max_length

    @property
    def vocab_size(self) -> int:
        """The number of tokens, added tokens included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def token(self, token_id: int) -> str | None:
        """The token of an id, as the vocabulary writes it; None if there is none."""
        found: str | None = self._tokenizer.id_to_token(token_id)
        return found

    def text_of(self, token_id: int) -> str:
        """The text that a token stands for, without surrounding spaces."""
        return str(self._tokenizer.decode([token_id], skip_special_tokens=False)).strip()

    def encode(
        self, items: Sequence[TextItem], *, windows: bool = False, stride: int = DEFAULT_STRIDE
    ) -> list[list[Encoding]]:
        """Tokenizes texts and pairs, in one call of the tokenizer for those that fit.

        Args:
            items: texts and pairs.
            windows: give a context that is too long several overlapping windows, each with the question
                before it; the items are then pairs (question, context). Otherwise the longer text is cut
                first. A question of more than half of the room is cut to it.
            stride: tokens that neighbouring windows share; at most half of a window's room is used.

        Returns:
            For each item its encodings: one, or several windows.

        Raises:
            UsageError: a text that is not valid Unicode, or a single text where windows need pairs.
        """
        if windows and any(isinstance(item, str) for item in items):
            raise UsageError("question answering needs a question and a context", "give pairs of texts")
        with self._lock:
            full = self._encode_batch(items)
            long = [index for index, raw in enumerate(full) if len(raw) > self.max_length]
            result = [[_encoding(raw, 0)] if len(raw) <= self.max_length else [] for raw in full]
            if long and windows:
                self._add_windows(items, full, long, stride, result)
            elif long:
                for index, raw in zip(long, self._cut([items[i] for i in long]), strict=True):
                    result[index] = [_encoding(raw, len(full[index]) - len(raw))]
        return result

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

    def _encode_batch(self, items: Sequence[TextItem]) -> list[RawEncoding]:
        try:
            return list(self._tokenizer.encode_batch(list(items)))
        except TypeError as error:
            raise invalid_unicode(items) or error from error

    def _cut(
        self, items: list[TextItem], strategy: str = "longest_first", stride: int = 0
    ) -> list[RawEncoding]:
        self._tokenizer.enable_truncation(self.max_length, stride=stride, strategy=strategy)
        try:
            return self._encode_batch(items)
        finally:
            self._tokenizer.no_truncation()

    def _add_windows(
        self,
        items: Sequence[TextItem],
        full: list[RawEncoding],
        long: list[int],
        stride: int,
        result: list[list[Encoding]],
    ) -> None:
        """Fills `result` for the pairs `long`, those of one stride together."""
        groups: dict[int, list[tuple[int, TextItem, int]]] = defaultdict(list)
        for index in long:
            item, question, dropped = self._shorten_question(items[index], full[index])
            room = self.max_length - self._pair_specials - question
            groups[min(stride, room // 2)].append((index, item, dropped))
        for overlap, group in groups.items():
            cut = self._cut([item for _, item, _ in group], "only_second", overlap)
            for (index, _, dropped), raw in zip(group, cut, strict=True):
                first = _encoding(raw, dropped)
                result[index] = [first, *(_encoding(other, 0) for other in raw.overflowing)]

    def _shorten_question(self, item: TextItem, raw: RawEncoding) -> tuple[TextItem, int, int]:
        """The pair with a question of at most half of the room, its token count, and the tokens dropped."""
        ends = [end for (_, end), owner in zip(raw.offsets, raw.sequence_ids, strict=True) if owner == 0]
        limit = (self.max_length - self._pair_specials) // 2
        if len(ends) <= limit or isinstance(item, str):
            return item, len(ends), 0
        shorter = item[0][: ends[limit - 1]]
        kept = sum(owner == 0 for owner in self._tokenizer.encode(shorter, item[1]).sequence_ids)
        return (shorter, item[1]), kept, len(ends) - kept


def _encoding(raw: RawEncoding, truncated: int) -> Encoding:
    return Encoding(
        tuple(raw.ids), tuple(raw.type_ids), tuple(raw.offsets), tuple(raw.sequence_ids), truncated
    )
