"""Groups texts of like length, so that a run pads to its own group only."""

from __future__ import annotations

from collections.abc import Sequence, Sized

MAX_BATCH = 32
MAX_TOKENS = 1024

_FULLNESS = 0.75
_SLACK = 4


def batches(
    encodings: Sequence[Sized], *, max_batch: int = MAX_BATCH, max_tokens: int = MAX_TOKENS
) -> list[list[int]]:
    """Splits texts into runs.

    The texts are sorted by length, longest first, and a run is closed when another text would exceed
    `max_batch` texts or `max_tokens` padded tokens, or when the text is so much shorter than the run's
    longest (under three quarters of it, and by more than 4 tokens) that its padding would cost more than a
    run of its own.

    Args:
        encodings: anything with a length in tokens.
        max_batch: the most texts of a run.
        max_tokens: the most tokens of a run, padding included; a longer text runs alone.

    Returns:
        Lists of indices into `encodings`; every index once.
    """
    lengths = [len(encoding) for encoding in encodings]
    result: list[list[int]] = []
    group: list[int] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length = lengths[index]
        full = len(group) == max_batch or (len(group) + 1) * longest > max_tokens
        if group and (full or length < min(longest * _FULLNESS, longest - _SLACK)):
            result.append(group)
            group = []
        if not group:
            longest = length
        group.append(index)
    if group:
        result.append(group)
    return result
