"""From what was built and measured to a bundle on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.build import Candidate, open_artifact, open_variants
from compiler.contents import bundle_files, golden_outputs
from compiler.evidence import computes_alike
from compiler.integer_answers import integer_reference, is_integer
from compiler.lower.artifact import Artifact
from compiler.lower.tensorrt.engine import with_engine
from compiler.manifest import make_manifest
from compiler.options import CompileOptions
from compiler.outcome import Chosen
from compiler.package import write_bundle
from compiler.progress import Clock
from compiler.report.collect import collect
from compiler.report.debug import debug_folder
from compiler.report.facts import Timing
from compiler.report.files import Kept, report_files
from compiler.report.timing import measure
from compiler.result import BundleResult
from compiler.source import Source
from compiler.structure import Structure, structure_of
from compiler.validate import Validation
from targets.bundle.reader import Bundle
from targets.detect import machine
from targets.spec import Evidence, TargetSpec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@dataclass(frozen=True, slots=True)
class Draft:
    """A bundle that lacks nothing but the record of its validation.

    Attributes:
        path: where it will be.
        spec: the target.
        chosen: what is in it, and what else was built.
        artifact: what ships, with its engine where it has one.
        selftest: the bytes of selftest.json.
        timing: against FP32; None where it was not measured.
        medians: milliseconds by runtime, of the shape of `timing`.
    """

    path: Path
    spec: TargetSpec
    chosen: Chosen
    artifact: Artifact
    selftest: bytes
    timing: Timing | None
    medians: Mapping[str, float]

    @property
    def source(self) -> Source:
        """What was compiled."""
        return self.chosen.source

    @property
    def best(self) -> Candidate:
        """The chosen one."""
        return self.chosen.best


class Packer:
    """Writes the bundles of one compile.

    Args:
        options: of the compile.
        clock: told of each stage; its seconds are reported.
        data: the records of the data files, for the manifest.
        key: signs the bundles; None leaves them unsigned.
    """

    def __init__(
        self, options: CompileOptions, clock: Clock, data: Mapping[str, Any], key: Ed25519PrivateKey | None
    ) -> None:
        """Writes nothing yet."""
        self._options = options
        self._clock = clock
        self._data = data
        self._key = key

    def draft(self, path: Path, spec: TargetSpec, chosen: Chosen, evidence: Evidence) -> Draft:
        """Builds the engine, where one ships, records the golden outputs, and times it for the report.

        Args:
            path: where the bundle will be.
            spec: the target.
            chosen: what ships.
            evidence: what a measurement here shows; it is timed where that is "measured".
        """
        best, source = chosen.best, chosen.source
        artifact = best.artifact
        if artifact.runtime == "tensorrt-rtx":
            with self._clock.stage("building the engine"):
                artifact = with_engine(artifact, spec.compute_capabilities)
        with self._clock.stage("recording golden outputs"):
            selftest = self._golden(artifact, best, spec, source)
        if not self._options.report or evidence != "measured":
            return Draft(path, spec, chosen, artifact, selftest, None, {})
        timed = measure(
            source.dense, chosen.candidates, spec, self._options, source.encoder.max_length, self._clock
        )
        return Draft(path, spec, chosen, artifact, selftest, *timed)

    def write_draft(self, draft: Draft, path: Path, validation: Validation) -> Bundle:
        """Writes the bundle elsewhere, to be run before it is published."""
        return self._write(draft, path, validation, (), force=False)

    def write(self, draft: Draft, validation: Validation, kept: Sequence[Kept]) -> BundleResult:
        """Writes the bundle to its place, in one atomic step.

        Args:
            draft: of `draft`.
            validation: its record.
            kept: predictions to compare with later.
        """
        best, source = draft.best, draft.source
        wanted = self._options.keep_debug
        with (
            self._clock.stage("packaging"),
            debug_folder(draft.path, best.quantized, draft.artifact.census, best.choice, wanted=wanted),
        ):
            bundle = self._write(draft, draft.path, validation, kept, force=self._options.force)
        return BundleResult(
            path=draft.path,
            target=draft.spec.id,
            runtime=draft.artifact.runtime,
            precision=draft.artifact.precision,
            content_digest=bundle.manifest.content_digest,
            model_bytes=draft.artifact.model_bytes,
            source_bytes=source.source_bytes,
            pruning={} if source.pruned is None else source.pruned.to_json(),
            validation=validation,
            candidates=_timings(draft.chosen.candidates),
            seconds=dict(self._clock.seconds),
            quantization=best.quantized.plan.to_json(),
            runs_here=machine().fits(draft.spec) and not draft.spec.devices,
            emulation=draft.spec.emulation,
            timing=draft.timing,
            reported=self._options.report,
        )

    def _write(
        self, draft: Draft, path: Path, validation: Validation, kept: Sequence[Kept], *, force: bool
    ) -> Bundle:
        source, options = draft.source, self._options
        before = structure_of(source.dense)
        after = _stored(draft)
        manifest = make_manifest(
            name=options.name or source.checkpoint.name,
            checkpoint=source.checkpoint,
            target=draft.spec,
            artifact=draft.artifact,
            quantized=draft.best.quantized,
            pruned=source.pruned,
            model=source.graph,
            structure={"checkpoint": before.to_json(), "bundle": after.to_json()},
            passes=source.passes,
            options=options,
            data=self._data,
            validation=validation.to_json(),
        )
        facts = collect(
            draft.chosen,
            manifest=manifest,
            validation=validation,
            model_bytes=draft.artifact.model_bytes,
            structures=(before, after),
            timing=draft.timing,
            medians=draft.medians,
            seconds=self._clock.seconds,
            warnings=self._clock.progress.warnings,
        )
        report = report_files(facts, kept, page=options.report)
        files = bundle_files(source.checkpoint, draft.artifact, draft.selftest, report, manifest)
        return write_bundle(path, manifest, files, force=force, key=self._key)

    def _golden(self, artifact: Artifact, best: Candidate, spec: TargetSpec, source: Source) -> bytes:
        """By the artifact in its runtime, or by its exact meaning where kernels compute otherwise here."""
        threads = self._options.threads
        own = computes_alike(spec, machine()) or not is_integer(best)
        backend = open_artifact(artifact, threads=threads) if own else integer_reference(best, spec)
        with ExitStack() as stack:
            session = stack.enter_context(source.session(backend))
            others = [
                stack.enter_context(source.session(each)) for each in open_variants(artifact, threads=threads)
            ]
            return golden_outputs(session, others)


def _stored(draft: Draft) -> Structure:
    """What ships; its widths are those of the graph before outliers were split off."""
    quantized = draft.best.quantized
    stored = structure_of(quantized.model, quantized.plan, draft.artifact.precision)
    return stored.with_widths(structure_of(draft.source.graph))


def _timings(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    return [{"runtime": each.artifact.runtime, "p50_ms": dict(each.p50_ms)} for each in candidates]
