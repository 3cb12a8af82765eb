"""A seeded sample of a stream, in one pass and in the stream's order."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from targets.errors import UsageError

MIN_SAMPLES: Final = 8

T = TypeVar("T")
Feeds = Mapping[str, NDArray[Any]]


def sample(rows: Iterable[T], n: int, seed: int = 0, *, minimum: int = MIN_SAMPLES) -> list[T]:
    """Draw `n` rows uniformly without replacement, keeping only `n` in memory.

    Reservoir sampling (Vitter 1985, algorithm R). The same rows, `n` and `seed` give the same sample
    on every machine; all rows come back when there are no more than `n`.

    Raises:
        UsageError: fewer than `minimum` asked for, or fewer than `minimum` rows in the stream.
    """
    if n < minimum:
        raise UsageError(
            f"{n} calibration samples asked for", f"ask for at least {minimum}; 128 to 512 is usual"
        )
    draw = random.Random(seed).random
    kept: list[tuple[int, T]] = []
    for position, row in enumerate(rows):
        if position < n:
            kept.append((position, row))
            continue
        slot = int(draw() * (position + 1))
        if slot < n:
            kept[slot] = (position, row)
    if len(kept) < minimum:
        raise UsageError(
            f"{len(kept)} {'row' if len(kept) == 1 else 'rows'} of calibration data",
            f"give at least {minimum} rows; 128 to 512 is usual",
        )
    return [row for _, row in sorted(kept, key=lambda item: item[0])]


def thinned(batches: Sequence[Feeds], most: int) -> Sequence[Feeds]:
    """Batches left out evenly until the rest has at most so many tokens, PAD included; one at least.

    Args:
        batches: feeds with `attention_mask`, [batch, sequence].
        most: tokens.
    """
    tokens = sum(int(np.asarray(feeds["attention_mask"]).size) for feeds in batches)
    keep = min(len(batches), max(1, len(batches) * most // max(tokens, 1)))
    return [batches[index * len(batches) // keep] for index in range(keep)]
