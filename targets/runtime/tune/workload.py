"""The texts that tuning times: the user's own, or made ones of typical lengths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from targets.errors import UsageError
from targets.runtime.items import TextItem, check_items, check_task, chunks
from targets.runtime.limits import MAX_TUNE_CHARACTERS
from targets.runtime.tokenize import TextEncoder
from targets.runtime.tune.record import Source, Workload

MEDIAN_TOKENS: Final = 20
SIGMA: Final = 0.6
SYNTHETIC_TEXTS: Final = 1024
MAX_FILE_TEXTS: Final = 10_000

_LEAST_TOKENS: Final = 4


@dataclass(frozen=True, slots=True)
class Texts:
    """Items to time and the tokens of each: for one of several windows, of all of them in turn."""

    source: Source
    items: tuple[TextItem, ...]
    lengths: tuple[tuple[int, ...], ...]

    @property
    def windows(self) -> list[int]:
        """Tokens of every run that these texts are, one text a run."""
        return [length for each in self.lengths for length in each]

    def summary(self) -> Workload:
        """What the record says of them."""
        tokens = [sum(each) for each in self.lengths]
        median, p95 = (round(float(value)) for value in np.percentile(tokens, (50, 95)))
        return Workload(self.source, len(tokens), median, p95, max(tokens))

    def sample(self, count: int, seed: int = 0) -> Texts:
        """So many of them whose lengths are distributed as all are, in random order.

        The texts in order of their length are cut into `count` equal parts, and the middle of each is taken.
        """
        total = len(self.items)
        count = min(count, total)
        order = sorted(range(total), key=lambda index: sum(self.lengths[index]))
        chosen = [order[(2 * part + 1) * total // (2 * count)] for part in range(count)]
        shuffled = [chosen[index] for index in np.random.default_rng(seed).permutation(count)]
        return Texts(
            self.source,
            tuple(self.items[index] for index in shuffled),
            tuple(self.lengths[index] for index in shuffled),
        )


def first_texts(items: Iterable[TextItem]) -> list[TextItem]:
    """The first items that are not blank: 10,000, or fewer whose characters are `MAX_TUNE_CHARACTERS`."""
    kept: list[TextItem] = []
    room = MAX_TUNE_CHARACTERS
    for item in items:
        size = sum(map(len, _parts(item)))
        if len(kept) == MAX_FILE_TEXTS or size > room:
            break
        if not isinstance(item, str) or item.strip():
            kept.append(item)
            room -= size
    return kept


def of_file(items: Iterable[TextItem], encoder: TextEncoder, task: str) -> Texts:
    """A user's texts, those of `first_texts`.

    Raises:
        UsageError: no text, or not what the task takes.
    """
    kept = check_items(first_texts(items))
    if not kept:
        raise UsageError("there is no text to time", "give a file with one text a line")
    check_task(task, kept)
    return _encoded("file", kept, encoder, task)


def synthetic(golden: Sequence[TextItem], encoder: TextEncoder, task: str, *, seed: int = 0) -> Texts:
    """Texts of the golden texts' words, as long as sentences are.

    Lengths are log-normal, as those of written sentences are (Williams 1940, Biometrika 31), with a median
    of 20 tokens and a sigma of 0.6: a tenth of them above 43, a hundredth above 80; cut to what the model
    reads. The words are drawn from the golden texts; pairs where those are pairs, their length shared.

    Args:
        golden: at least one text or pair.
        encoder: of the bundle.
        task: of the bundle.
        seed: of lengths and words.
    """
    rng = np.random.default_rng(seed)
    words = sorted({word for item in golden for text in _parts(item) for word in text.split()}) or ["a"]
    specials, costs = _costs(words, encoder)
    lengths = np.exp(rng.normal(math.log(MEDIAN_TOKENS), SIGMA, SYNTHETIC_TEXTS))
    lengths = np.clip(np.rint(lengths), _LEAST_TOKENS, encoder.max_length).astype(np.int64)
    pair = not isinstance(golden[0], str)
    items: list[TextItem] = []
    for length in lengths.tolist():
        tokens = max(1, length - specials)
        if pair:
            first = _text(words, costs, max(1, tokens // 4), rng)
            items.append((first, _text(words, costs, max(1, tokens - tokens // 4), rng)))
        else:
            items.append(_text(words, costs, tokens, rng))
    return _encoded("synthetic", items, encoder, task)


def _encoded(source: Source, items: Sequence[TextItem], encoder: TextEncoder, task: str) -> Texts:
    lengths: list[tuple[int, ...]] = []
    for chunk in chunks(items):
        encoded = encoder.encode(chunk, windows=task == "question-answering", first=len(lengths) + 1)
        lengths += [tuple(map(len, windows)) for windows in encoded]
    return Texts(source, tuple(items), tuple(lengths))


def _costs(words: Sequence[str], encoder: TextEncoder) -> tuple[int, list[int]]:
    """The special tokens of a text, and the tokens of each word."""
    specials = len(encoder.encode([""])[0][0])
    return specials, [max(1, len(found[0]) - specials) for found in encoder.encode(list(words))]


def _text(words: Sequence[str], costs: Sequence[int], tokens: int, rng: np.random.Generator) -> str:
    """Words drawn until they are about so many tokens."""
    found, left = [], tokens
    while left > 0:
        index = int(rng.integers(len(words)))
        if costs[index] > left and left < tokens:
            index = min(range(len(words)), key=costs.__getitem__)
        found.append(words[index])
        left -= costs[index]
    return " ".join(found)


def _parts(item: TextItem) -> tuple[str, ...]:
    return (item,) if isinstance(item, str) else item
