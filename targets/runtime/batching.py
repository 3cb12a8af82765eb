"""Groups texts into runs, so that padding and the cost of a run together are least."""

from __future__ import annotations

from collections.abc import Sequence, Sized

import numpy as np

MAX_BATCH = 32
MAX_TOKENS = 1024
RUN_TOKENS = 16


def batches(
    encodings: Sequence[Sized],
    *,
    max_batch: int = MAX_BATCH,
    max_tokens: int = MAX_TOKENS,
    run_tokens: int = RUN_TOKENS,
) -> list[list[int]]:
    """Splits texts into the runs of least cost.

    A run of n texts costs `run_tokens + n x longest` tokens. Sorted by length, some best grouping is made of
    neighbours only, since exchanging two texts between runs never shortens the longer run; so the best
    ways to group the first 1, 2, 3... texts follow from each other (Bellman's principle of optimality).

    Args:
        encodings: anything with a length in tokens.
        max_batch: the most texts of a run.
        max_tokens: the most tokens of a run, padding included; a longer text runs alone.
        run_tokens: what one more run costs.

    Returns:
        Lists of indices into `encodings`, the longest texts first; every index once.
    """
    if not encodings:
        return []
    lengths = np.array([len(encoding) for encoding in encodings], dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    starts = _cuts(lengths[order], max_batch, max_tokens, run_tokens)
    return [order[a:b].tolist() for a, b in zip(starts, [*starts[1:], len(order)], strict=True)]


def _cuts(lengths: np.ndarray[tuple[int], np.dtype[np.int64]], most: int, room: int, run: int) -> list[int]:
    """Where each run begins among lengths in descending order."""
    count = len(lengths)
    cost = np.zeros(count + 1, dtype=np.int64)
    begins = np.zeros(count + 1, dtype=np.int64)
    for end in range(1, count + 1):
        low = max(0, end - most)
        sizes = np.arange(end - low, 0, -1)
        padded = sizes * lengths[low:end]
        total = cost[low:end] + padded
        total[(padded > room) & (sizes > 1)] = np.iinfo(np.int64).max
        best = int(total.argmin())
        begins[end] = low + best
        cost[end] = total[best] + run
    found = []
    end = count
    while end > 0:
        end = int(begins[end])
        found.append(end)
    return found[::-1]
