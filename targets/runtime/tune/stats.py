"""How sure a difference between two interleaved series of times is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Times: TypeAlias = NDArray[np.float64]

RESAMPLES: Final = 1000
CONFIDENCE: Final = 0.95

_CHUNK_ELEMENTS: Final = 2_000_000


@dataclass(frozen=True, slots=True)
class Ratio:
    """A candidate's time over the reference's, and the ends of its bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def faster(self) -> bool:
        """Whether the whole interval is below 1."""
        return self.high < 1.0


def typical(times: Times) -> float:
    """Seconds of a whole round: of each unit the median over the rounds, added up.

    Args:
        times: seconds [rounds, units]; a unit is the same work in every round.
    """
    return float(np.median(times, axis=0).sum())


def ratio(candidate: Times, reference: Times, *, seed: int = 0) -> Ratio:
    """The ratio of two typical times, with the percentile interval of a paired bootstrap.

    Rounds are drawn with replacement, the same rounds for both (Efron and Tibshirani 1993, chapter 16):
    what disturbed the machine in a round disturbed both. Of different lengths, the rounds that both have
    count.

    Args:
        candidate: seconds [rounds, units].
        reference: seconds [rounds, units], units of its own.
        seed: of the draws.
    """
    rounds = min(len(candidate), len(reference))
    candidate, reference = candidate[:rounds], reference[:rounds]
    rng = np.random.default_rng(seed)
    block = max(1, _CHUNK_ELEMENTS // max(candidate.size, reference.size))
    found = []
    for start in range(0, RESAMPLES, block):
        draws = rng.integers(0, rounds, size=(min(block, RESAMPLES - start), rounds))
        found.append(_typical_of(candidate, draws) / _typical_of(reference, draws))
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(np.concatenate(found), [tail, 1.0 - tail])
    return Ratio(typical(candidate) / typical(reference), float(low), float(high))


def _typical_of(times: Times, draws: NDArray[np.int64]) -> Times:
    """The typical time of each draw of rounds, [draws]."""
    return np.asarray(np.median(times[draws], axis=1).sum(axis=-1))
