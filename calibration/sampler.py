"""A seeded sample of a stream, in one pass and in the stream's order."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Final, TypeVar

from targets.errors import UsageError

MIN_SAMPLES: Final = 8

T = TypeVar("T")


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
            f"{len(kept)} rows of calibration data", f"give at least {minimum} rows; 128 to 512 is usual"
        )
    return [row for _, row in sorted(kept, key=lambda item: item[0])]
