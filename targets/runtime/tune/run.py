"""`tune`: searches for each bundle and objective, races the bundles, and writes the records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Final

from targets.bundle.device import backend_version
from targets.bundle.schema import SELFTEST_PATH, TOKENIZER_PATH
from targets.detect import machine
from targets.errors import IncompatibleError, IntegrityError, UnsupportedError, UsageError
from targets.runtime.backends.threads import resolve_threads
from targets.runtime.items import TextItem
from targets.runtime.selftest import SelfTest, compare, parse_selftest
from targets.runtime.settings import OBJECTIVES, Objective, RunSettings, default_settings
from targets.runtime.tokenize import TextEncoder
from targets.runtime.tune.candidates import Room, room_for_shapes, stages_of
from targets.runtime.tune.measure import open_contestant, texts_for
from targets.runtime.tune.race import race, values
from targets.runtime.tune.record import Figures, Trial, Tuned, TuningRecord
from targets.runtime.tune.search import MAX_OPEN, Measured, Search
from targets.runtime.tune.workload import Texts, of_file, synthetic
from targets.runtime.tuning import describe_machine, misfit, read_record, refuse_emulation, write_record

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle

SECONDS: Final = 60.0
MAX_SECONDS: Final = 3600.0

_SHARES: Final[Mapping[Objective, float]] = {"latency": 2.0, "throughput": 3.0}
_RACE_SHARE: Final = 0.15
_HEAT_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """How to tune.

    Attributes:
        objectives: what to be fast at, each by itself.
        seconds: about how long it may take in all.
        threads: the most that a candidate may use; 0 for every physical core.
        seed: of the texts chosen, the order of timing and the bootstrap.

    Raises:
        UsageError: a number out of bounds, or no objective.
    """

    objectives: tuple[Objective, ...] = OBJECTIVES
    seconds: float = SECONDS
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuses what cannot be done."""
        if not 1 <= self.seconds <= MAX_SECONDS:
            raise UsageError(f"{self.seconds} seconds to tune in", f"give 1 to {MAX_SECONDS:g}")
        if not self.objectives:
            raise UsageError("no objective to tune for", f"give one of: {', '.join(OBJECTIVES)}")
        cores = machine().cores
        if not 0 <= self.threads <= cores:
            raise UsageError(
                f"{self.threads} threads to tune with", f"give up to {cores}, or 0 for all physical cores"
            )


@dataclass(frozen=True, slots=True)
class TuneResult:
    """The record of one bundle and where it was written."""

    bundle: Bundle
    path: Path
    record: TuningRecord


@dataclass(slots=True)
class _Job:
    """One bundle: what it is tested and timed with, and what was found so far."""

    bundle: Bundle
    golden: SelfTest
    texts: Texts
    tuned: dict[Objective, Tuned] = field(default_factory=dict)


def tune(
    bundles: Sequence[Bundle],
    options: TuneOptions | None = None,
    *,
    items: Sequence[TextItem] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[TuneResult]:
    """Finds how each bundle runs fastest here, and which of several does, and writes it beside them.

    Nothing is written before everything is measured. A record that fits and holds the other objective keeps
    it.

    Args:
        bundles: up to 6 of one model, for instance one for each runtime.
        options: None for the default.
        items: texts to time; None for made ones of typical lengths.
        progress: called with what is being done.

    Raises:
        UsageError: bundles of different models, texts that they do not take, or an emulated CPU.
        IncompatibleError: a bundle does not run here, or fails its self-test.
        IntegrityError: a bundle is damaged.
    """
    refuse_emulation()
    wanted = options or TuneOptions()
    check_bundles(bundles)
    jobs = [_job(bundle, items, wanted.seed) for bundle in bundles]
    for objective in wanted.objectives:
        share = wanted.seconds * _SHARES[objective] / sum(_SHARES[name] for name in wanted.objectives)
        each = share * (1.0 - _RACE_SHARE * (len(jobs) > 1)) / len(jobs)
        for job in jobs:
            say = partial(_say, progress, f"{job.bundle.path.name}: {objective}, ")
            job.tuned[objective] = _search(job, objective, wanted, each, say)
        if len(jobs) > 1:
            progress(f"{objective}: {len(jobs)} bundles against each other")
            _race(jobs, objective, share * _RACE_SHARE, wanted.seed)
    return [_write(job) for job in jobs]


def _say(progress: Callable[[str], None], where: str, what: str) -> None:
    progress(where + what)


def check_bundles(bundles: Sequence[Bundle]) -> None:
    """Refuses bundles that cannot be compared, and those that this machine cannot run.

    Raises:
        UsageError: none, more than 6, one twice, or two of different models.
        UnsupportedError: one for another device of OpenVINO than the CPU.
        BertcError: as for `Bundle.check_device`.
    """
    if not 1 <= len(bundles) <= MAX_OPEN:
        raise UsageError(f"{len(bundles)} bundles to tune", f"give 1 to {MAX_OPEN}")
    first = bundles[0]
    for number, bundle in enumerate(bundles):
        if bundle.id in {other.id for other in bundles[:number]}:
            raise UsageError(f"{bundle.path} is given twice", "give each bundle once")
        device = bundle.manifest.runtime.device
        if device != "CPU":
            raise UnsupportedError(
                f"{bundle.path} runs on the {device}, and tuning is of a CPU's threads, streams and shapes",
                "run it as it is; `bertc bench` times it",
            )
        if _model_of(bundle) != _model_of(first):
            raise UsageError(
                f"{bundle.path} and {first.path} are of different models",
                "tune together only bundles of one checkpoint, which answer alike",
            )
        bundle.check_device()


def _model_of(bundle: Bundle) -> object:
    """What bundles of one checkpoint share, whatever they were compiled for."""
    manifest = bundle.manifest
    tokenizer = {entry.sha256 for entry in manifest.files if entry.path == TOKENIZER_PATH}
    return manifest.task, manifest.task_config, manifest.tokenizer, tokenizer


def _job(bundle: Bundle, items: Sequence[TextItem] | None, seed: int) -> _Job:
    manifest = bundle.manifest
    golden = parse_selftest(bundle.read(SELFTEST_PATH))
    encoder = TextEncoder.from_bytes(bundle.read(TOKENIZER_PATH), manifest.tokenizer, False)
    if items is None:
        return _Job(bundle, golden, synthetic(golden.texts, encoder, manifest.task, seed=seed))
    return _Job(bundle, golden, of_file(items, encoder, manifest.task))


def _search(
    job: _Job, objective: Objective, options: TuneOptions, seconds: float, progress: Callable[[str], None]
) -> Tuned:
    bundle = job.bundle
    threads = resolve_threads(options.threads)
    backend = bundle.manifest.runtime.backend
    default = replace(default_settings(backend, objective, threads), threads=options.threads)
    _check_answers(job, default, objective)
    begin = perf_counter()
    room = Room(
        bundle.manifest.runtime.backend,
        resolve_threads(options.threads),
        job.texts.windows,
        room_for_shapes(machine().memory_mb, bundle.model_bytes),
    )
    stages = stages_of(objective, room)
    heat_s = _HEAT_SHARE * seconds / (len(stages) + 1)
    texts = texts_for(bundle, default, objective, job.texts, heat_s, options.seed)
    search = Search(
        lambda settings: open_contestant(bundle, settings, objective, texts),
        perf_counter,
        max(1.0, seconds - (perf_counter() - begin)),
        options.seed,
        progress,
    )
    found = search.run(default, stages)
    trials = tuple(_trial(each, objective, len(texts.items)) for each in found.measured)
    value = values(objective, found.default_seconds, len(texts.items))
    plain = Figures(value, 1.0, 1.0, 1.0, found.final.rounds)
    if found.settings == default:
        return Tuned(default, plain, default, plain, job.texts.summary(), trials)
    try:
        _check_answers(job, found.settings, objective)
    except IncompatibleError:
        failed = (*trials[:-1], replace(trials[-1], outcome="failed"))
        return Tuned(default, plain, default, plain, job.texts.summary(), failed)
    figures = trials[-1].figures or plain
    return Tuned(found.settings, figures, default, plain, job.texts.summary(), trials)


def _check_answers(job: _Job, settings: RunSettings, objective: Objective) -> None:
    """Runs the bundle's golden texts with the settings, each alone where that is what was timed.

    Raises:
        IncompatibleError: an answer is further from the expected one than the bundle allows.
    """
    from targets.runtime.session import Session

    size = 1 if objective == "latency" else None
    with Session.from_bundle(job.bundle, settings=settings, batch_size=size, check_device=False) as session:
        if objective == "latency" or settings.max_batch == 1:
            session.prepare([len(ids) for ids in job.golden.ids])
        report = compare(job.golden, session)
    if not report.ok:
        raise IncompatibleError(
            f"the self-test of {job.bundle.path} failed: this machine does not compute what was measured",
            "run `bertc selftest` on the bundle",
        )


def _trial(measured: Measured, objective: Objective, texts: int) -> Trial:
    against = measured.ratio
    if against is None:
        return Trial(measured.stage, measured.settings, measured.outcome, None)
    figures = Figures(
        values(objective, measured.seconds, texts),
        round(against.value, 4),
        round(against.low, 4),
        round(against.high, 4),
        measured.rounds,
    )
    return Trial(measured.stage, measured.settings, measured.outcome, figures)


def _race(jobs: Sequence[_Job], objective: Objective, seconds: float, seed: int) -> None:
    entries = [(job.bundle, job.tuned[objective].settings) for job in jobs]
    found = race(entries, objective, jobs[0].texts, seconds, seed)
    for job in jobs:
        job.tuned[objective] = replace(job.tuned[objective], race=found)


def _write(job: _Job) -> TuneResult:
    bundle = job.bundle
    backend = bundle.manifest.runtime.backend
    record = TuningRecord(
        bundle.id, backend, backend_version(backend), describe_machine(), {**_known(bundle), **job.tuned}
    )
    return TuneResult(bundle, write_record(bundle, record), record)


def _known(bundle: Bundle) -> dict[Objective, Tuned]:
    """What a record that still fits says already."""
    try:
        record = read_record(bundle)
    except IntegrityError:
        return {}
    return dict(record.tuned) if record is not None and misfit(record, bundle) is None else {}
