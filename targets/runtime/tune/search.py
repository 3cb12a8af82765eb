"""The search: stages of candidates timed alternately, the slower half dropped, the reference hard to beat."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import numpy as np

from targets.errors import BertcError
from targets.runtime.settings import RunSettings
from targets.runtime.tune.record import Outcome
from targets.runtime.tune.stats import Ratio, Times, ratio, typical

Key = TypeVar("Key", bound=Hashable)

MIN_ROUNDS: Final = 8
MAX_ROUNDS: Final = 60
MAX_OPEN: Final = 6

_SCREEN: Final = 4
_OVERTIME: Final = 1.25
_FINALISTS: Final = 3


class Contestant(Protocol):
    """A way to run, ready to be timed."""

    def round(self) -> Sequence[float]:
        """Does the work once; the seconds of each unit of it, the same units in every round."""

    def close(self) -> None:
        """Releases what it holds."""


Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a heat ends: after `soft` if there are rounds enough, after `hard` in any case."""

    soft: float
    hard: float


@dataclass(frozen=True, slots=True)
class Stage:
    """One coordinate of the search.

    Attributes:
        name: for the record.
        options: from the settings found so far, the stage's reference and its challengers, the simplest
            first, `MAX_OPEN` in all at most.
        settle: from the settings found so far and the option that won, the settings to go on with.
    """

    name: str
    options: Callable[[RunSettings], Sequence[RunSettings]]
    settle: Callable[[RunSettings, RunSettings], RunSettings] = lambda _, option: option


@dataclass(frozen=True, slots=True)
class Measured:
    """One option of one stage, against the stage's reference; no ratio if it could not be opened."""

    stage: str
    settings: RunSettings
    outcome: Outcome
    seconds: float = math.nan
    ratio: Ratio | None = None
    rounds: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to.

    Attributes:
        settings: to run with.
        measured: everything, in order.
        final: the settings against the default, timed anew; the default itself if it stays.
        default_seconds: of a round with the default, timed together with `final`.
    """

    settings: RunSettings
    measured: tuple[Measured, ...]
    final: Measured
    default_seconds: float


@dataclass(slots=True)
class Search:
    """Looks for the fastest settings.

    Args:
        open: opens a candidate, warmed up.
        clock: seconds, ascending.
        seconds: how long to search, opening included. The last comparison may take a quarter more.
        seed: of the order within rounds and of the bootstrap.
        progress: called with what is being done.
    """

    open: Callable[[RunSettings], Contestant]
    clock: Clock
    seconds: float
    seed: int = 0
    progress: Callable[[str], None] = lambda _: None
    _ready: dict[RunSettings, Contestant] = field(default_factory=dict)

    def run(self, default: RunSettings, stages: Sequence[Stage]) -> Found:
        """Settles one stage after another, then times the outcome against the default anew.

        The stages choose among many, which favours the lucky; the settings returned are the default's own
        unless the last, fresh comparison says as well that they are faster.

        Raises:
            BertcError: the default itself cannot be run.
        """
        begin = self.clock()
        end, hard = begin + self.seconds, begin + _OVERTIME * self.seconds
        best, measured = default, []
        try:
            for number, stage in enumerate(stages):
                options = list(dict.fromkeys(stage.options(best)))
                now = self.clock()
                if len(options) < 2 or now >= end:
                    continue
                soft = now + (end - now) / (len(stages) + 1 - number)
                found = self._stage(stage.name, options, Limits(soft, end))
                measured += found
                won = next((each.settings for each in found if each.outcome == "won"), options[0])
                best = stage.settle(best, won)
            return self._last(default, best, measured, Limits(end, hard))
        finally:
            self._keep(())

    def _last(
        self, default: RunSettings, best: RunSettings, measured: list[Measured], limits: Limits
    ) -> Found:
        known = [each for each in measured if each.settings == default and each.outcome == "reference"]
        if best == default and known:
            return Found(default, tuple(measured), known[-1], known[-1].seconds)
        found = self._stage("final", list(dict.fromkeys((default, best))), limits)
        winner = next((each for each in found if each.outcome == "won"), found[0])
        return Found(winner.settings, (*measured, *found), winner, found[0].seconds)

    def _stage(self, name: str, options: Sequence[RunSettings], limits: Limits) -> list[Measured]:
        self._keep(options)
        self.progress(f"{name}: {len(options)} candidates")
        failed = [option for option in options if not self._opened(option, required=option is options[0])]
        ready = {option: self._ready[option] for option in options if option not in failed}
        times = heat(ready, options[0], self.clock, limits, seed=self.seed, drop=self._drop)
        won = pick(times, options[0], self.seed)
        return [_measured(name, option, options[0], times, won, self.seed) for option in options]

    def _opened(self, option: RunSettings, *, required: bool) -> bool:
        if option not in self._ready:
            try:
                self._ready[option] = self.open(option)
            except BertcError:
                if required:
                    raise
                return False
        return True

    def _drop(self, option: RunSettings) -> None:
        self._ready.pop(option).close()

    def _keep(self, options: Sequence[RunSettings]) -> None:
        for option in [option for option in self._ready if option not in options]:
            self._drop(option)


def heat(
    contestants: Mapping[Key, Contestant],
    reference: Key,
    clock: Clock,
    limits: Limits,
    *,
    seed: int = 0,
    drop: Callable[[Key], None] | None = None,
) -> dict[Key, Times]:
    """Times contestants in turn, each round in an order of its own.

    While there are more than three, the slower half of those beside the reference goes after every fourth
    round (successive halving: Jamieson and Talwalkar 2016), if `drop` is given; it is called with each.

    Returns:
        Seconds [rounds, units] of each; fewer rounds of those that were dropped.
    """
    rng = np.random.default_rng(seed)
    samples: dict[Key, list[Sequence[float]]] = {key: [] for key in contestants}
    running = list(contestants)
    for done in range(1, MAX_ROUNDS + 1):
        for index in rng.permutation(len(running)):
            samples[running[index]].append(contestants[running[index]].round())
        now = clock()
        if now >= limits.hard or (done >= MIN_ROUNDS and now >= limits.soft):
            break
        if drop is not None and done % _SCREEN == 0 and len(running) > _FINALISTS:
            running = _faster(running, reference, samples, drop)
    return {key: np.asarray(rows, dtype=np.float64) for key, rows in samples.items()}


def _faster(
    running: list[Key],
    reference: Key,
    samples: Mapping[Key, list[Sequence[float]]],
    drop: Callable[[Key], None],
) -> list[Key]:
    others = [key for key in running if key != reference]
    others.sort(key=lambda key: typical(np.asarray(samples[key], dtype=np.float64)))
    kept = max(_FINALISTS - 1, math.ceil(len(others) / 2))
    for key in others[kept:]:
        drop(key)
    return [key for key in running if key == reference or key in others[:kept]]


def pick(times: Mapping[Key, Times], reference: Key, seed: int = 0) -> Key:
    """Who won a heat: the reference, unless another one's interval against it lies wholly below 1.

    Of several such, the fastest, or the first in order from which the fastest cannot be told apart.
    """
    full = [
        key for key, rows in times.items() if len(rows) >= MIN_ROUNDS and len(rows) == len(times[reference])
    ]
    better = [
        key for key in full if key != reference and ratio(times[key], times[reference], seed=seed).faster
    ]
    if not better:
        return reference
    best = min(better, key=lambda key: typical(times[key]))
    return next(key for key in better if key == best or not ratio(times[best], times[key], seed=seed).faster)


def _measured(
    stage: str,
    option: RunSettings,
    reference: RunSettings,
    times: Mapping[RunSettings, Times],
    won: RunSettings,
    seed: int,
) -> Measured:
    if option not in times:
        return Measured(stage, option, "failed")
    rows = times[option]
    outcome: Outcome = "lost" if len(rows) >= MIN_ROUNDS else "undecided"
    if option == reference:
        outcome = "reference"
    elif option == won:
        outcome = "won"
    elif len(rows) < len(times[reference]):
        outcome = "dropped"
    against = ratio(rows, times[reference], seed=seed)
    return Measured(stage, option, outcome, typical(rows), against, len(rows))
