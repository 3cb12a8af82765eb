"""Several bundles of one model, each as it runs fastest, timed against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import TYPE_CHECKING

from targets.runtime.settings import Objective, RunSettings
from targets.runtime.tune.measure import open_contestant, texts_for
from targets.runtime.tune.record import Entrant, Figures, Race
from targets.runtime.tune.search import Contestant, Limits, heat
from targets.runtime.tune.stats import Times, ratio, typical
from targets.runtime.tune.workload import Texts

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle


def values(objective: Objective, seconds: float, texts: int) -> float:
    """Milliseconds of a text, or texts a second, from the seconds of a round over so many texts."""
    return round(1000.0 * seconds / texts, 5) if objective == "latency" else round(texts / seconds, 3)


def race(
    entries: Sequence[tuple[Bundle, RunSettings]],
    objective: Objective,
    texts: Texts,
    seconds: float,
    seed: int,
) -> Race:
    """Times bundles alternately on the same texts.

    Args:
        entries: bundles of one model, and how each is run.
        objective: what counts.
        texts: to choose among.
        seconds: about how long it may take.
        seed: of the texts chosen, the order and the bootstrap.

    Raises:
        BertcError: a bundle does not run.
    """
    begin = perf_counter()
    chosen = texts_for(*entries[0], objective, texts, seconds / 2, seed)
    with ExitStack() as stack:
        contestants: dict[int, Contestant] = {}
        for number, (bundle, settings) in enumerate(entries):
            contestants[number] = open_contestant(bundle, settings, objective, chosen)
            stack.callback(contestants[number].close)
        limits = Limits(begin + seconds, begin + 2 * seconds)
        times = heat(contestants, 0, perf_counter, limits, seed=seed)
    return judge([bundle for bundle, _ in entries], times, objective, len(chosen.items), seed)


def judge(
    bundles: Sequence[Bundle], times: Mapping[int, Times], objective: Objective, texts: int, seed: int = 0
) -> Race:
    """The fastest bundle, if it is faster than each of the others beyond doubt, and everyone's figures.

    Args:
        bundles: in the order of the keys of `times`.
        times: seconds [rounds, units] of each.
        objective: what the values are.
        texts: of a round.
        seed: of the bootstrap.
    """
    best = min(times, key=lambda number: typical(times[number]))
    others = [number for number in times if number != best]
    clear = all(ratio(times[best], times[number], seed=seed).faster for number in others)
    entrants = []
    for number, bundle in enumerate(bundles):
        against = ratio(times[number], times[best], seed=seed)
        figures = Figures(
            values(objective, typical(times[number]), texts),
            round(against.value, 4),
            round(against.low, 4),
            round(against.high, 4),
            len(times[number]),
        )
        entrants.append(Entrant(bundle.id, bundle.manifest.runtime.backend, figures))
    return Race(bundles[best].id if clear else None, tuple(entrants))
