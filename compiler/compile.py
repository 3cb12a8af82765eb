"""The main job: a checkpoint in, validated bundles out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Unpack

from calibration.examples import Example
from compiler.attempts import Attempts, Strategy
from compiler.blas import one_thread
from compiler.emulate.samples import Samples
from compiler.emulate.validation import Sample
from compiler.heldout import HeldOut, Slice, make_held_out, probe_items
from compiler.integer_answers import IntegerAnswers
from compiler.ir.edit import weight_bytes
from compiler.measuring import Measuring
from compiler.options import CompileOptions, OptionFields
from compiler.packing import Packer
from compiler.preparation import Accept, Preparation, Prepared
from compiler.progress import Clock, Progress, Silent
from compiler.prune.directions import answers_of
from compiler.pruning import Pruning
from compiler.reference import ReferenceBackend
from compiler.report.files import INTEGER, REFERENCE, SAMPLE, Kept
from compiler.report.text import SELF_TEST_HINT, describe
from compiler.result import CompileResult
from compiler.scratch import named_when_full
from compiler.sessions import predict_in_stage
from compiler.source import Reference, Source
from compiler.texts import (
    TextFeeds,
    items_of,
    text_feeds,
    truncation_note,
)
from compiler.validate import Evaluator, Predictions, Validation
from targets.errors import AccuracyGateError
from targets.runtime.session import Session
from targets.runtime.tokenize import TextEncoder
from targets.spec import TargetSpec

_GATE_HINT: Final = (
    "give more or more typical --calibration-data, another --precision (auto leaves what INT8 breaks in "
    "float), or a wider --max-drop or --min-agreement"
)


def compile_model(
    model: str | Path,
    output: str | Path = ".",
    *,
    target: str | Sequence[str] = "native",
    progress: Progress | None = None,
    **options: Unpack[OptionFields],
) -> CompileResult:
    """Compile a checkpoint for one or more devices.

    Args:
        model: a local Hugging Face folder, a hub id, or an .onnx file.
        output: the folder that receives NAME-TARGET.bundle.
        target: an id of `bertc targets`, the path of a profile, "native", or several of these.
        progress: told of every stage; silent when None.
        **options: the fields of `compiler.options.CompileOptions`.

    Returns:
        One record per bundle, in the order of the targets.

    Raises:
        UsageError: options, data or output that cannot be used (exit code 2).
        UnsupportedError: a model, task or precision that is not compiled (3).
        AccuracyGateError: an artifact that lost too much; nothing is left at its output (4).
        IncompatibleError: an emulated device that cannot run the bundle (6).
        MissingBackendError: a runtime that is not installed (7).
    """
    targets = (target,) if isinstance(target, str) else tuple(target)
    chosen = CompileOptions(targets=targets, **options)
    chosen.check()
    clock = Clock(progress or Silent())
    return run_compile(str(model), Path(output), chosen, Attempts(chosen, clock), clock)


def run_compile(
    model: str,
    output: Path,
    options: CompileOptions,
    strategy: Strategy,
    clock: Clock,
    accept: Accept | None = None,
) -> CompileResult:
    """Compile with any way to choose what is built.

    Args:
        model: as of `compile_model`.
        output: the folder that receives the bundles.
        options: checked already; they are recorded in the bundles.
        strategy: what is built for each target.
        clock: told of every stage.
        accept: called with the checkpoint before the work; raises what it has against it.

    Raises:
        BertcError: as `compile_model`, and what `accept` raises.
    """
    with named_when_full(model), one_thread(clock.progress.warn):
        return _Compile(model, output, options, strategy, clock).run(accept)


class _Compile:
    """One run of the compiler; every method is one stage."""

    def __init__(
        self, model: str, output: Path, options: CompileOptions, strategy: Strategy, clock: Clock
    ) -> None:
        self._model = model
        self._output = output
        self._options = options
        self._clock = clock
        self._strategy = strategy

    def run(self, accept: Accept | None = None) -> CompileResult:
        options, strategy = self._options, self._strategy
        found = Preparation(self._model, self._output, options, self._clock, searches=strategy.searches).run(
            accept
        )
        source = self._source(found)
        packer = Packer(options, self._clock, found.data.record, found.key)
        integers = IntegerAnswers(self._clock)
        samples = Samples(options, self._clock, integers)
        measuring = Measuring(options, strategy, self._clock, integers, found.evidence)
        done, failed = [], []
        for spec, path in zip(found.specs, found.paths, strict=True):
            evidence = found.evidence[spec.id]
            chosen = measuring.first_to_pass(source, spec)
            validation = chosen.validation
            if validation.status == "failed":
                failed.append((spec, validation))
                continue
            variant = strategy.with_speedup(chosen.source, spec, chosen.best)
            draft = packer.draft(path, spec, replace(chosen, source=variant), evidence)
            sample = samples.of(variant, chosen.best, spec) if found.emulated else None
            if options.validate_emulated and sample is not None and evidence == "simulated":
                validation = samples.emulated(packer, draft, sample, validation)
                if validation.status == "failed":
                    failed.append((spec, validation))
                    continue
            done.append(packer.write(draft, validation, _kept(source, sample)))
        if failed:
            raise _gate_error(failed)
        return CompileResult(tuple(done))

    def _source(self, found: Prepared) -> Source:
        checkpoint, graph, data = found.checkpoint, found.graph, found.data
        held_out = data.held_out if self._strategy.searches else None
        source = Source(
            checkpoint, graph, found.passes, found.encoder, None, None, source_bytes=weight_bytes(graph)
        )
        source = replace(
            source,
            texts=None if data.calibration is None else self._calibration_texts(data.calibration, source),
            held_out=None if held_out is None else self._held_out(*held_out, source),
            reference=None if data.evaluator is None else self._reference(data.evaluator, source),
        )
        if found.emulated:
            source = replace(source, sample=self._sample(source, data.sample))
        return source if data.pruning is None else self._with_pruning(data.pruning, source)

    def _with_pruning(self, examples: list[Example], source: Source) -> Source:
        """The source with what can prune it, and pruned where the budget is the same for every target."""
        texts = self._calibration_texts(examples, source)
        answers = answers_of(source.checkpoint.task, source.checkpoint.task_config.problem_type)
        pruning = Pruning(source.graph, texts, answers, self._options, source.encoder.max_length, self._clock)
        source = replace(source, pruning=pruning)
        share = self._options.prune_flops
        return source if share is None else source.cut(pruning.by_flops(share), self._options)

    def _calibration_texts(self, examples: list[Example], source: Source) -> TextFeeds:
        items = items_of(examples, source.checkpoint.task)
        windows = source.checkpoint.task == "question-answering"
        texts = text_feeds(items, source.encoder, windows=windows)
        self._warn_truncated(texts.truncated, texts.texts, "calibration", source.encoder)
        return texts

    def _warn_truncated(self, truncated: int, texts: int, what: str, encoder: TextEncoder) -> None:
        for note in truncation_note(truncated, texts, what, encoder):
            self._clock.progress.warn(note)

    def _held_out(self, rows: Slice, evaluator: Evaluator, source: Source) -> HeldOut:
        options, task = self._options, source.checkpoint.task
        baseline, session = self._predict(evaluator, source, "held-out texts in FP32")
        probe = probe_items(rows, source.encoder, task, seed=options.seed)
        return make_held_out(evaluator, baseline, probe, session.backend, source.session, source.encoder)

    def _reference(self, evaluator: Evaluator, source: Source) -> Reference:
        predictions, session = self._predict(evaluator, source, "evaluating FP32")
        self._warn_truncated(session.truncated, evaluator.n, "evaluation", source.encoder)
        return Reference(evaluator, predictions)

    def _sample(self, source: Source, evaluator: Evaluator | None) -> Reference | None:
        """FP32 on what is emulated, where a target can be."""
        whole = source.reference
        if evaluator is None or whole is None:
            return None
        if evaluator.digest == whole.evaluator.digest:
            return whole
        return Reference(evaluator, self._predict(evaluator, source, "the sample in FP32")[0])

    def _predict(self, evaluator: Evaluator, source: Source, stage: str) -> tuple[Predictions, Session]:
        """The FP32 model's answers, and the closed session."""

        def opened() -> Session:
            return source.session(ReferenceBackend(source.graph, threads=self._options.threads))

        return predict_in_stage(self._clock, stage, evaluator, opened)


def _kept(source: Source, sample: Sample | None) -> list[Kept]:
    kept = []
    if source.reference is not None:
        kept.append(Kept(REFERENCE, source.reference.evaluator.digest, source.reference.predictions))
    if sample is None:
        return kept
    digest = sample.evaluator.digest
    if sample.baseline is not None and digest not in [each.digest for each in kept]:
        kept.append(Kept(SAMPLE, digest, sample.baseline))
    if sample.integer is not None:
        kept.append(Kept(INTEGER, digest, sample.integer))
    return kept


def _gate_error(failed: list[tuple[TargetSpec, Validation]]) -> AccuracyGateError:
    spec, validation = failed[0]
    return AccuracyGateError(
        f"{spec.id}: {describe(validation)}",
        SELF_TEST_HINT if validation.failed_self_test else _GATE_HINT,
    )
