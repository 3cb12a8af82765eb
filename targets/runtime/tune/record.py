"""What tuning writes down."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from targets.bundle.strict_json import canonical_json
from targets.runtime.settings import Objective, RunSettings

Outcome = Literal["reference", "won", "lost", "dropped", "undecided", "failed"]
Source = Literal["file", "synthetic"]

FORMAT: Final = "bertc-tuning"
VERSION: Final = 1
MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one choice.

    Attributes:
        value: for latency milliseconds of a text, for throughput texts a second; from medians over rounds.
        ratio: of its time to the time of the reference, timed alternately; below 1 is faster.
        low: lower end of the ratio's 95% bootstrap interval.
        high: upper end.
        rounds: how often it was timed; 0 if nothing was.
    """

    value: float
    ratio: float
    low: float
    high: float
    rounds: int


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate of one stage.

    Attributes:
        stage: in which it was tried.
        settings: what was tried.
        outcome: "dropped" is slow after a few rounds, "lost" not faster beyond doubt after many,
            "undecided" out of time before that, "failed" not able to run.
        figures: against the stage's reference; None if it did not run.
    """

    stage: str
    settings: RunSettings
    outcome: Outcome
    figures: Figures | None


@dataclass(frozen=True, slots=True)
class Workload:
    """The texts that were timed: where they are from, how many, and their lengths in tokens."""

    source: Source
    texts: int
    median_tokens: int
    p95_tokens: int
    longest_tokens: int


@dataclass(frozen=True, slots=True)
class Entrant:
    """One of several bundles timed against each other; `figures` are against the fastest."""

    bundle_id: str
    backend: str
    figures: Figures


@dataclass(frozen=True, slots=True)
class Race:
    """Several bundles of one model. `winner` is the fastest one's id; None if no interval excludes 1."""

    winner: str | None
    entrants: tuple[Entrant, ...]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What one objective came to.

    Attributes:
        settings: to run with.
        figures: of these settings, against `default`.
        default: what they were compared with.
        default_figures: of the default, against itself.
        workload: what was timed.
        trials: every candidate.
        race: against other bundles, if several were tuned together.
    """

    settings: RunSettings
    figures: Figures
    default: RunSettings
    default_figures: Figures
    workload: Workload
    trials: tuple[Trial, ...] = ()
    race: Race | None = None


@dataclass(frozen=True, slots=True)
class MachineRecord:
    """The machine that was measured; `cores` are usable by the process, `threads` what 0 stands for."""

    arch: str
    os: str
    cpu_model: str
    cores: int
    threads: int


@dataclass(frozen=True, slots=True)
class TuningRecord:
    """How one bundle runs fastest on one machine with one version of its backend."""

    bundle_id: str
    backend: str
    backend_version: str
    machine: MachineRecord
    tuned: Mapping[Objective, Tuned] = field(hash=False)

    def to_dict(self) -> dict[str, Any]:
        """The document, ready for JSON."""
        document = asdict(self)
        document["objectives"] = document.pop("tuned")
        return {"format": FORMAT, "version": VERSION, **document}

    def to_json(self) -> bytes:
        """The canonical bytes."""
        return canonical_json(self.to_dict(), indent=1)
