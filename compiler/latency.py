"""Latency of several models against each other, in one process, so that what disturbs one disturbs all."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from compiler.progress import spread
from targets.runtime.backends.base import Backend

Feeds = Mapping[str, NDArray[Any]]
Times = dict[str, NDArray[np.float64]]

SHAPES: Final = ((1, 32), (1, 128), (8, 128))

_MIN_TURNS: Final = 5
_REPEATS: Final = 3
_RESAMPLES: Final = 2000
_CONFIDENCE: Final = (2.5, 97.5)

# The threads of one runtime spin for tens of milliseconds after a run, on the cores that the next one needs.
_SETTLE: Final = 0.06


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times faster, with a 95% interval."""

    value: float
    low: float
    high: float


def interleave(
    backends: Mapping[str, Backend],
    feeds: Feeds,
    *,
    turns: int,
    seconds: float | None = None,
    seed: int = 0,
    advance: Callable[[int], None] | None = None,
) -> Times:
    """The median milliseconds of each model in each turn, [turns]; see `interleave_runs`."""
    runs = interleave_runs(backends, feeds, turns=turns, seconds=seconds, seed=seed, advance=advance)
    return {name: np.median(found, axis=1) for name, found in runs.items()}


def interleave_runs(
    backends: Mapping[str, Backend],
    feeds: Feeds,
    *,
    turns: int,
    seconds: float | None = None,
    seed: int = 0,
    advance: Callable[[int], None] | None = None,
) -> Times:
    """Time models in turns.

    In every turn each model, in an order drawn anew, waits until the others' threads sleep, runs once
    unmeasured, and then a few times measured.

    Args:
        backends: loaded models by name.
        feeds: int64 [batch, tokens] by input name; each model takes those it has.
        turns: how often each model is measured.
        seconds: stop after these, though not before 5 turns.
        seed: of the orders.
        advance: called with the steps that are reached after a turn, as many in all as there are turns; see
            `share_done`.

    Returns:
        For each name the milliseconds of its runs in each turn, [turns, runs].
    """
    rng = np.random.default_rng(seed)
    own = {name: {key: feeds[key] for key in each.input_names} for name, each in backends.items()}
    times: dict[str, list[list[float]]] = {name: [] for name in backends}
    report = None if advance is None else spread(advance, turns, 1.0)
    begin, reached = time.perf_counter(), 0.0
    for turn in range(turns):
        for name in rng.permutation(list(backends)):
            times[name].append(_run(backends[name], own[name]))
        before, reached = reached, share_done(turn + 1, turns, time.perf_counter() - begin, seconds)
        if report is not None:
            report(reached - before)
        if reached >= 1.0:
            break
    return {name: np.array(found) for name, found in times.items()}


def share_done(done: int, turns: int, elapsed: float, seconds: float | None) -> float:
    """How much of the turns of `interleave` is over, from 0 to 1: all of them, or all that time allows.

    Args:
        done: turns.
        turns: at most.
        elapsed: seconds since the first began.
        seconds: after which no turn begins but the first 5; None for any number.
    """
    if seconds is None:
        return done / turns
    by_time = min(elapsed / seconds, done / _MIN_TURNS) if seconds > 0 else done / _MIN_TURNS
    return min(max(done / turns, by_time), 1.0)


def _run(backend: Backend, feeds: Feeds) -> list[float]:
    time.sleep(_SETTLE)
    backend.run(feeds)
    found = []
    for _ in range(_REPEATS):
        begin = time.perf_counter()
        backend.run(feeds)
        found.append(1e3 * (time.perf_counter() - begin))
    return found


def median_ms(times: NDArray[np.float64]) -> float:
    """The median over the turns, in milliseconds."""
    return float(np.median(times))


def speedup(baseline: NDArray[np.float64], times: NDArray[np.float64], *, seed: int = 0) -> Ratio:
    """How many times faster than a baseline: the ratio of the medians.

    Args:
        baseline: milliseconds of the baseline in each turn, [turns].
        times: milliseconds of the model in the same turns, [turns].
        seed: of the bootstrap, which draws turns, so that both models are drawn together.
    """
    drawn = np.random.default_rng(seed).integers(0, len(times), (_RESAMPLES, len(times)))
    ratios = np.median(baseline[drawn], axis=1) / np.median(times[drawn], axis=1)
    low, high = np.percentile(ratios, _CONFIDENCE)
    return Ratio(median_ms(baseline) / median_ms(times), float(low), float(high))


def full_feeds(vocabulary: int, batch: int, tokens: int, *, seed: int = 0) -> dict[str, NDArray[np.int64]]:
    """Random token ids with nothing padded, int64 [batch, tokens], for every input of an encoder."""
    shape = (batch, tokens)
    ids = np.random.default_rng(seed).integers(min(5, vocabulary - 1), vocabulary, shape, dtype=np.int64)
    return {
        "input_ids": ids,
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
    }


def fitting_shapes(max_length: int, shapes: Sequence[tuple[int, int]] = SHAPES) -> list[tuple[int, int]]:
    """The shapes with their lengths cut to what a model reads, each once."""
    return list(dict.fromkeys((batch, min(tokens, max_length)) for batch, tokens in shapes))
