"""How runs are repeated, and what of their times stands for one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

WARMUP: Final = 3

_LEAST: Final = 5
_MOST: Final = 10_000


def warm_up(run: Callable[[], object]) -> None:
    """Runs what is not measured: the first runs allocate, and read the weights for the first time."""
    for _ in range(WARMUP):
        run()


def repeat(
    run: Callable[[], object], seconds: float, iterations: int | None = None, *, most: int = _MOST
) -> list[float]:
    """The seconds of each run.

    Args:
        run: what to repeat.
        seconds: how long, 5 runs at least and `most` at most.
        iterations: how many runs instead; None lets `seconds` decide.
        most: as above; it bounds `iterations` as well.
    """
    least = min(iterations or _LEAST, most)
    most = least if iterations else most
    times: list[float] = []
    begin = now = time.perf_counter()
    while len(times) < least or (len(times) < most and now - begin < seconds):
        run()
        after = time.perf_counter()
        times.append(after - now)
        now = after
    return times


def middle(times: Sequence[float]) -> list[int]:
    """The places of the middle half: runs that something else slowed, and lucky ones, are left out."""
    order = sorted(range(len(times)), key=times.__getitem__)
    cut = len(order) // 4
    return order[cut : len(order) - cut]


def typical(times: Sequence[float]) -> float:
    """The mean of the middle half: near the median, and additive over what a run consists of."""
    kept = middle(times)
    return sum(times[place] for place in kept) / len(kept)
