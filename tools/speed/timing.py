"""Timing in blocks: a model runs as it does in use, by itself, and yet next to all others in time."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from compiler.latency import Ratio, speedup
from targets.runtime.items import TextItem
from targets.runtime.session import Session
from targets.runtime.tokenize import TextEncoder
from tools.speed.models import Feeds, Runnable

Values = NDArray[np.float64]

_BLOCK: Final = 10
_UNTIMED: Final = 4
_TEXTS: Final = 50
# The threads of one runtime spin for tens of milliseconds after a run, on the cores that the next one needs.
_SETTLE: Final = 0.1


@dataclass(frozen=True, slots=True)
class Timed:
    """Milliseconds of one model: of its blocks, in the order of the rounds, and of its single runs."""

    blocks: Values
    runs: Values

    @property
    def median(self) -> float:
        """Of the blocks."""
        return float(np.median(self.blocks))

    def faster_than(self, other: Timed) -> Ratio:
        """How many times less a block takes than one of another model, blocks of one round together."""
        return speedup(other.blocks, self.blocks)


def time_shape(
    models: Mapping[str, Runnable], feeds: Feeds, rounds: int, advance: Callable[[int], None]
) -> dict[str, Timed]:
    """The latency of one shape.

    In every round each model, in an order drawn anew, runs 4 times untimed and 10 times timed.

    Returns:
        By name; a block's value is the median of its runs.
    """
    rng = np.random.default_rng(0)
    found: dict[str, list[Values]] = {name: [] for name in models}
    for _ in range(rounds):
        for name in rng.permutation(list(models)):
            time.sleep(_SETTLE)
            runs = _runs(models[name], [feeds] * (_UNTIMED + _BLOCK))
            found[name].append(runs[_UNTIMED:])
        advance(1)
    return {
        name: Timed(np.array([np.median(each) for each in own]), np.concatenate(own))
        for name, own in found.items()
    }


def time_stream(
    models: Mapping[str, Runnable], texts: Sequence[Feeds], passes: int, advance: Callable[[int], None]
) -> dict[str, tuple[Timed, Timed]]:
    """Real texts one at a time, as they come.

    The texts are cut into blocks of 50; every model runs a block, in an order drawn anew, before the next one
    is begun.

    Returns:
        By name the first pass, in which lengths are seen for the first time, and the later ones. A block's
        value is the mean of its runs.
    """
    rng = np.random.default_rng(0)
    blocks = [texts[start : start + _TEXTS] for start in range(0, len(texts), _TEXTS)]
    found: dict[str, list[Values]] = {name: [] for name in models}
    for _ in range(1 + passes):
        for block in blocks:
            for name in rng.permutation(list(models)):
                time.sleep(_SETTLE)
                _runs(models[name], block[-_UNTIMED:])
                found[name].append(_runs(models[name], block))
        advance(1)
    count = len(blocks)
    return {name: (_joined(own[:count]), _joined(own[count:])) for name, own in found.items()}


def _runs(model: Runnable, texts: Sequence[Feeds]) -> Values:
    found = []
    for feeds in texts:
        begin = time.perf_counter()
        model.run(feeds)
        found.append(1e3 * (time.perf_counter() - begin))
    return np.array(found)


def _joined(blocks: Sequence[Values]) -> Timed:
    return Timed(np.array([each.mean() for each in blocks]), np.concatenate(blocks))


def time_passes(
    ways: Mapping[str, Callable[[], object]], passes: int, advance: Callable[[int], None]
) -> dict[str, Timed]:
    """Seconds' worth of work done in turns, each way once a pass; milliseconds of every pass."""
    rng = np.random.default_rng(0)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(passes):
        for name in rng.permutation(list(ways)):
            time.sleep(_SETTLE)
            begin = time.perf_counter()
            ways[name]()
            found[name].append(1e3 * (time.perf_counter() - begin))
        advance(1)
    return {name: Timed(np.array(own), np.array(own)) for name, own in found.items()}


def bundle_pass(session: Session, texts: Sequence[TextItem]) -> Callable[[], object]:
    """All texts through a bundle's session: tokenized, grouped and run as it sees fit."""
    return lambda: session.infer(texts)


def peer_pass(
    model: Runnable, encoder: TextEncoder, texts: Sequence[TextItem], size: int
) -> Callable[[], object]:
    """All texts through a peer: tokenized, sorted by length, in batches of `size` padded to their longest."""

    def run() -> list[object]:
        return [model.run(feeds) for feeds in sorted_batches(encoder, texts, size)]

    return run


def sorted_batches(encoder: TextEncoder, texts: Sequence[TextItem], size: int) -> list[dict[str, Any]]:
    """The texts as feeds of `size` texts of about one length, the longest first."""
    encodings = sorted((windows[0] for windows in encoder.encode(texts)), key=len, reverse=True)
    return [encoder.collate(encodings[start : start + size]) for start in range(0, len(encodings), size)]
