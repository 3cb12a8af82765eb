"""A bundle's accuracy, measured again on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from calibration.data import open_dataset
from calibration.examples import DataOptions
from compiler.emulate.cpus import find_cpu
from compiler.emulate.validation import Sample, ready_cpu, validate_emulated
from compiler.opened import named
from compiler.options import DEFAULT_EMULATED_SAMPLES, DEFAULT_MAX_DROP
from compiler.quantize.mixed import Gate
from compiler.report.files import INTEGER, REFERENCE, SAMPLE
from compiler.sessions import (
    bundle_encoder,
    evidence_here,
    open_bundle_session,
    open_session,
    open_simulated_session,
)
from compiler.texts import truncation_note
from compiler.validate import Evaluator, Predictions, Validation, load_predictions, make_evaluator
from targets.bundle.reader import Bundle
from targets.errors import BertcError, FailedRunError, IncompatibleError

_Otherwise = TypeVar("_Otherwise", int, int | None)
_MOST = 2**53

NO_BASELINE = (
    "the bundle keeps FP32's answers to other texts than these, so it was not compared with FP32; "
    "pass --model to do so"
)
OTHER_SUMS = (
    "this CPU adds products of 8-bit integers in 32 bits, those that the bundle is for may add them in 16: "
    "run it on one with --emulate"
)


def revalidate(
    bundle: Bundle,
    eval_data: str,
    columns: DataOptions,
    *,
    limit: int | None = None,
    model: str | None = None,
    max_drop: float | None = None,
    seed: int | None = None,
    threads: int = 0,
    emulate: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Validation, tuple[str, ...]]:
    """Run a bundle over evaluation data and compare with FP32 where it is known.

    A bundle for a GPU that is not here is simulated, and the record says so. With `emulate` it runs in the
    device's own runtime on an emulated CPU.

    Args:
        bundle: an open bundle.
        eval_data: a file or a `datasets` name.
        columns: of the data.
        limit: texts drawn from it; None for as many as the compile drew from the same data, else all; under
            emulation those that the compile kept answers to.
        model: the checkpoint; None compares with the predictions kept in the bundle, if the data is
            the same.
        max_drop: None for the bundle's own gate.
        seed: of the sample; None for the compile's.
        threads: of one run, 0 for every core.
        emulate: a target, or a CPU of `compiler.emulate.cpus`, to run it on; None for this machine.
        progress: called with the texts done and their total.

    Returns:
        The record, and what the user should know: nothing to compare with, texts that were cut.

    Raises:
        UsageError: data that cannot be used.
        IntegrityError, IncompatibleError, MissingBackendError: as `Bundle.session`.
    """
    manifest, recorded = bundle.manifest, _Recorded.of(bundle)
    cpu = None if emulate is None else ready_cpu(emulate)
    with named("--eval-data", eval_data):
        data = open_dataset(eval_data, manifest.task, columns)
    if limit is None:
        limit = recorded.limit(data.digest, emulated=cpu is not None)
    evaluator = make_evaluator(
        data,
        manifest.task,
        manifest.task_config,
        bundle_encoder(bundle),
        limit=limit,
        seed=recorded.seed if seed is None else seed,
    )
    baseline = (
        kept_answers(bundle, evaluator, REFERENCE, SAMPLE)
        if model is None
        else _fp32(bundle, model, evaluator, threads)
    )
    notes = [] if baseline is not None else [NO_BASELINE]
    gate = _gate(bundle)
    allowed = gate.max_drop if max_drop is None else max_drop
    sample = Sample(evaluator, baseline, kept_answers(bundle, evaluator, INTEGER))
    if cpu is not None:
        found = validate_emulated(bundle, cpu, sample, max_drop=allowed, threads=threads, progress=progress)
        return gate.judged(found), tuple(notes)
    evidence = evidence_here(bundle)
    opened = open_bundle_session if evidence == "measured" else open_simulated_session
    with _or_emulate(bundle), opened(bundle, threads=threads) as session:
        compiled = evaluator.predict(session, progress)
        notes += truncation_note(session.truncated, evaluator.n, "evaluation", session.encoder)
    if evidence == "simulated" and manifest.engine is None and manifest.runtime.device == "CPU":
        notes.append(OTHER_SUMS)
    return gate.judged(sample.judged(compiled, max_drop=allowed, evidence=evidence)), tuple(notes)


@contextmanager
def _or_emulate(bundle: Bundle) -> Iterator[None]:
    """Where this machine is another than the bundle is for, say which emulated one is not."""
    try:
        yield
    except FailedRunError:
        raise
    except IncompatibleError as error:
        target = bundle.manifest.target.id
        try:
            find_cpu(target)
        except BertcError:
            raise error from None
        raise IncompatibleError(
            error.message, f"run it on an emulated one: --emulate {target} (see `bertc emulator`)"
        ) from error


@dataclass(frozen=True, slots=True)
class _Recorded:
    """What the manifest says of the compile's evaluation data."""

    sha256: str | None
    samples: int | None
    emulated: int
    seed: int

    def limit(self, digest: str, *, emulated: bool) -> int | None:
        """How many texts of a file are drawn where the user does not say."""
        known = self.samples if digest == self.sha256 else None
        if not emulated:
            return known
        return self.emulated if known is None else min(known, self.emulated)

    @classmethod
    def of(cls, bundle: Bundle) -> _Recorded:
        provenance = bundle.manifest.provenance
        config, data = _table(provenance.get("config")), _table(provenance.get("data"))
        samples, seed = config.get("eval_samples"), config.get("seed")
        emulated = config.get("emulated_samples")
        sha256 = _table(data.get("evaluation")).get("sha256")
        return cls(
            sha256 if isinstance(sha256, str) else None,
            _count(samples, 1, None),
            _count(emulated, 1, DEFAULT_EMULATED_SAMPLES),
            _count(seed, 0, 0),
        )


def _count(value: object, least: int, otherwise: _Otherwise) -> int | _Otherwise:
    """A whole number that a manifest records; `otherwise` in place of anything else."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and least <= value <= _MOST else otherwise  # type: ignore[operator, return-value]


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, Mapping) else {}


def _gate(bundle: Bundle) -> Gate:
    """What the compile asked for."""
    allowed = _table((bundle.manifest.validation or {}).get("gate")).get("max_drop")
    agreement = _table(bundle.manifest.provenance.get("config")).get("min_agreement")
    return Gate(
        float(allowed) if isinstance(allowed, int | float) else DEFAULT_MAX_DROP,
        float(agreement) if isinstance(agreement, int | float) else None,
    )


def kept_answers(bundle: Bundle, evaluator: Evaluator, *names: str) -> Predictions | None:
    """Answers that a bundle keeps to just these texts.

    Args:
        bundle: an open bundle.
        evaluator: of the texts.
        names: of files in report/, of which the first that has them is taken.

    Raises:
        IntegrityError: a file is damaged.
    """
    for path in (f"report/{name}" for name in names):
        found = load_predictions(bundle.read(path), evaluator.digest) if path in bundle else None
        if found is not None:
            return found
    return None


def _fp32(bundle: Bundle, model: str, evaluator: Evaluator, threads: int) -> Predictions:
    from compiler.cli.host import require_host

    require_host()
    from compiler.frontend.checkpoint import load_checkpoint
    from compiler.frontend.export import trace
    from compiler.passes.manager import PassManager
    from compiler.pipeline import encoder_passes
    from compiler.reference import ReferenceBackend
    from compiler.texts import encoder_of

    manifest = bundle.manifest
    checkpoint = load_checkpoint(model, task=manifest.task, max_length=manifest.tokenizer.max_length)
    graph = trace(checkpoint).model
    PassManager(encoder_passes()).run(graph)
    backend = ReferenceBackend(graph, threads=threads)
    with open_session(backend, encoder_of(checkpoint, graph), manifest.task, manifest.task_config) as session:
        return evaluator.predict(session, None)
