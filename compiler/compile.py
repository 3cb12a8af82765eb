"""The main job: a checkpoint in, validated bundles out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import onnx_ir as ir

from calibration.examples import Example
from compiler.attempts import Attempts
from compiler.build import (
    Candidate,
    choose_runtimes,
    open_artifact,
    open_variants,
    precision_for,
)
from compiler.contents import bundle_files, golden_outputs
from compiler.frontend.checkpoint import Checkpoint, load_checkpoint
from compiler.frontend.export import trace
from compiler.heldout import HeldOut, Slice, make_held_out, probe_items
from compiler.ir.edit import weight_bytes
from compiler.ir.encoder import EncoderGraph
from compiler.lower.artifact import Artifact
from compiler.lower.tensorrt.engine import with_engine
from compiler.lower.tensorrt.lowering import check_precision
from compiler.manifest import make_manifest
from compiler.opened import open_data
from compiler.options import CompileOptions, OptionFields
from compiler.package import check_output, write_bundle
from compiler.passes.manager import DumpIr, Instrument, PassManager, PassRecord
from compiler.pipeline import encoder_passes
from compiler.progress import Clock, Progress, Silent
from compiler.prune.directions import answers_of
from compiler.pruning import Pruning
from compiler.quantize.mixed import Gate
from compiler.reference import ReferenceBackend, check_parity
from compiler.report.debug import check_debug, debug_folder
from compiler.report.files import report_files
from compiler.report.text import describe
from compiler.result import BundleResult, CompileResult
from compiler.scratch import named_when_full
from compiler.source import Reference, Source
from compiler.texts import (
    TextFeeds,
    encoder_of,
    items_of,
    selftest_items,
    text_feeds,
    truncation_note,
)
from compiler.validate import Evaluator, Predictions, Validation, not_measured
from targets.detect import machine
from targets.errors import AccuracyGateError, IncompatibleError, UsageError
from targets.registry import get_target
from targets.runtime.session import Session
from targets.runtime.tokenize import TextEncoder
from targets.spec import Evidence, TargetSpec


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
        IncompatibleError: a target that this machine cannot run, and so cannot validate (6).
        MissingBackendError: a runtime that is not installed (7).
    """
    targets = (target,) if isinstance(target, str) else tuple(target)
    chosen = CompileOptions(targets=targets, **options)
    chosen.check()
    with named_when_full(model):
        return _Compile(str(model), Path(output), chosen, Clock(progress or Silent())).run()


class _Compile:
    """One run of the compiler; every method is one stage."""

    def __init__(self, model: str, output: Path, options: CompileOptions, clock: Clock) -> None:
        self._model = model
        self._output = output
        self._options = options
        self._clock = clock
        self._attempts = Attempts(options, clock)
        self._data: dict[str, Any] = {}

    def run(self) -> CompileResult:
        specs = self._targets()
        checkpoint = self._load()
        paths = [self._bundle_path(checkpoint, spec) for spec in specs]
        for path in paths:
            check_output(path, force=self._options.force)
            if self._options.keep_debug:
                check_debug(path, force=self._options.force)
        source = self._source(checkpoint)
        done, failed = [], []
        for spec, path in zip(specs, paths, strict=True):
            variant, candidates, best, validation = self._first_to_pass(source, spec)
            if validation.status == "failed":
                failed.append((spec, validation))
                continue
            variant = self._attempts.with_speedup(variant, spec, best)
            done.append(self._package(path, spec, variant, candidates, best, validation))
        if failed:
            raise _gate_error(failed)
        return CompileResult(tuple(done))

    def _first_to_pass(
        self, source: Source, spec: TargetSpec
    ) -> tuple[Source, list[Candidate], Candidate, Validation]:
        """The first attempt that passes on the evaluation data; the first of all, failed, if none does."""
        failures = []
        for variant, candidates in self._attempts.of(source, spec):
            best, validation = self._validate(candidates, variant, spec.evidence)
            if validation.status != "failed":
                return variant, candidates, best, validation
            failures.append((variant, candidates, best, validation))
        return failures[0]

    def _targets(self) -> list[TargetSpec]:
        specs = [get_target(name) for name in self._options.targets]
        here = machine()
        for index, spec in enumerate(specs):
            for profile in choose_runtimes(spec, self._options):
                check_precision(precision_for(profile, self._options), spec, profile)
            if spec.id in [other.id for other in specs[:index]]:
                raise UsageError(f"the target {spec.id} is given twice", "give each --target once")
            if not spec.gpu and not here.fits(spec):
                raise IncompatibleError(
                    f"target {spec.id} cannot be validated on this machine ({here.cpu_model})",
                    "compile on a machine of that kind, or pass --target native",
                )
        return specs

    def _load(self) -> Checkpoint:
        options = self._options
        with self._clock.stage("reading the checkpoint"):
            checkpoint = load_checkpoint(
                self._model, task=options.task, max_length=options.max_length, revision=options.revision
            )
        for note in checkpoint.notes:
            self._clock.progress.warn(note)
        return checkpoint

    def _bundle_path(self, checkpoint: Checkpoint, spec: TargetSpec) -> Path:
        return self._output / f"{self._options.name or checkpoint.name}-{spec.id}.bundle"

    def _source(self, checkpoint: Checkpoint) -> Source:
        data = open_data(self._options, checkpoint, self._clock.progress.warn)
        self._data = data.record
        graph, passes = self._trace(checkpoint)
        encoder = encoder_of(checkpoint, graph)
        source = Source(checkpoint, graph, passes, encoder, None, None, source_bytes=weight_bytes(graph))
        source = replace(
            source,
            texts=None if data.calibration is None else self._calibration_texts(data.calibration, source),
            held_out=None if data.held_out is None else self._held_out(*data.held_out, source),
            reference=None if data.evaluator is None else self._reference(data.evaluator, source),
        )
        return source if data.pruning is None else self._with_pruning(data.pruning, source)

    def _with_pruning(self, examples: list[Example], source: Source) -> Source:
        """The source with what can prune it, and pruned where the budget is the same for every target."""
        texts = self._calibration_texts(examples, source)
        answers = answers_of(source.checkpoint.task, source.checkpoint.task_config.problem_type)
        pruning = Pruning(source.graph, texts, answers, self._options, source.encoder.max_length, self._clock)
        source = replace(source, pruning=pruning)
        share = self._options.prune_flops
        return source if share is None else source.cut(pruning.by_flops(share), self._options)

    def _trace(self, checkpoint: Checkpoint) -> tuple[ir.Model, list[PassRecord]]:
        with self._clock.stage("tracing"):
            traced = trace(checkpoint)
        dump = self._options.dump_ir
        instruments: list[Instrument] = [] if dump is None else [DumpIr(dump)]
        passes = encoder_passes(fuse_qkv=self._options.built != "int8" and not self._options.pruned)
        with self._clock.stage("rewriting the graph"):
            records = PassManager(passes, instruments).run(traced.model)
            EncoderGraph.find(traced.model).require()
            if traced.reference is not None:
                encoder = encoder_of(checkpoint, traced.model)
                feeds = text_feeds(selftest_items(checkpoint.task), encoder).feeds[0]
                check_parity(traced.model, traced.reference, feeds)
        return traced.model, records

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
        backend = ReferenceBackend(source.graph, threads=options.threads)
        with source.session(backend) as session:
            baseline = self._predict(evaluator, session, "held-out texts in FP32")
            probe = probe_items(rows, source.encoder, task, seed=options.seed)
            return make_held_out(evaluator, baseline, probe, backend, source.session, source.encoder)

    def _reference(self, evaluator: Evaluator, source: Source) -> Reference:
        backend = ReferenceBackend(source.graph, threads=self._options.threads)
        with source.session(backend) as session:
            predictions = self._predict(evaluator, session, "evaluating FP32")
            self._warn_truncated(session.truncated, evaluator.n, "evaluation", source.encoder)
        return Reference(evaluator, predictions)

    def _predict(self, evaluator: Evaluator, session: Session, stage: str) -> Predictions:
        with self._clock.stage(stage, len(evaluator.items)) as advance:
            last = 0

            def report(done: int, total: int) -> None:
                del total
                nonlocal last
                advance(done - last)
                last = done

            return evaluator.predict(session, report)

    def _validate(
        self, candidates: list[Candidate], source: Source, evidence: Evidence
    ) -> tuple[Candidate, Validation]:
        """The fastest candidate that passes the gate; the fastest, and its failure, if none does."""
        if source.reference is None:
            return candidates[0], not_measured("no evaluation data was given")
        outcomes: list[tuple[Candidate, Validation]] = []
        for each in candidates:
            try:
                validation = self._measure(each, source, source.reference, evidence)
            except AccuracyGateError as error:
                if each is candidates[-1] and not outcomes:
                    raise
                self._clock.progress.warn(f"{error.message}: {each.artifact.runtime} was left out")
                continue
            if validation.status != "failed":
                return each, validation
            outcomes.append((each, validation))
        return outcomes[0]

    def _measure(
        self, candidate: Candidate, source: Source, reference: Reference, evidence: Evidence
    ) -> Validation:
        artifact = candidate.artifact
        how = "validating on" if evidence == "measured" else "simulating"
        with source.session(open_artifact(artifact, threads=self._options.threads)) as session:
            compiled = self._predict(reference.evaluator, session, f"{how} {artifact.runtime}")
        options = self._options
        found = reference.evaluator.compare(
            reference.predictions, compiled, max_drop=options.max_drop, evidence=evidence
        )
        return Gate(options.max_drop, options.min_agreement).judged(found)

    def _golden(self, artifact: Artifact, source: Source) -> bytes:
        threads = self._options.threads
        with ExitStack() as stack:
            session = stack.enter_context(source.session(open_artifact(artifact, threads=threads)))
            others = [
                stack.enter_context(source.session(each)) for each in open_variants(artifact, threads=threads)
            ]
            return golden_outputs(session, others)

    def _package(
        self,
        path: Path,
        spec: TargetSpec,
        source: Source,
        candidates: list[Candidate],
        best: Candidate,
        validation: Validation,
    ) -> BundleResult:
        artifact, options = best.artifact, self._options
        ordered = [best, *(each for each in candidates if each is not best)]
        timings = [{"runtime": each.artifact.runtime, "p50_ms": dict(each.p50_ms)} for each in ordered]
        reference = source.reference
        stored = None if reference is None else (reference.evaluator.digest, reference.predictions)
        if artifact.runtime == "tensorrt-rtx":
            with self._clock.stage("building the engine"):
                artifact = with_engine(artifact, spec.compute_capabilities)
        with self._clock.stage("packaging"):
            selftest = self._golden(artifact, source)
            report = report_files(validation, timings, self._clock.seconds, stored)
            manifest = make_manifest(
                name=options.name or source.checkpoint.name,
                checkpoint=source.checkpoint,
                target=spec,
                artifact=artifact,
                quantized=best.quantized,
                pruned=source.pruned,
                model=source.graph,
                passes=source.passes,
                options=options,
                data=self._data,
                validation=validation.to_json(),
            )
            files = bundle_files(source.checkpoint, artifact, selftest, report)
            with debug_folder(path, best.quantized, artifact.census, best.choice, wanted=options.keep_debug):
                bundle = write_bundle(path, manifest, files, force=options.force)
        return BundleResult(
            path=path,
            target=spec.id,
            runtime=artifact.runtime,
            precision=artifact.precision,
            content_digest=bundle.manifest.content_digest,
            model_bytes=artifact.model_bytes,
            source_bytes=source.source_bytes,
            pruning={} if source.pruned is None else source.pruned.to_json(),
            validation=validation,
            candidates=timings,
            seconds=dict(self._clock.seconds),
            quantization=best.quantized.plan.to_json(),
        )


def _gate_error(failed: list[tuple[TargetSpec, Validation]]) -> AccuracyGateError:
    spec, validation = failed[0]
    return AccuracyGateError(
        f"{spec.id}: {describe(validation)}",
        "give more or more typical --calibration-data, another --precision (auto leaves what INT8 breaks in "
        "float), or a wider --max-drop or --min-agreement",
    )
