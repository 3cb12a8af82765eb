"""What a compile finds out before the work: targets, checkpoint, outputs, data, and the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from compiler.build import check_profiles
from compiler.emulate.cpus import emulated_cpu
from compiler.emulate.readiness import require_emulator
from compiler.evidence import computes_alike, evidence_of
from compiler.frontend.checkpoint import Checkpoint, load_checkpoint
from compiler.frontend.export import trace
from compiler.ir.encoder import EncoderGraph
from compiler.opened import Opened, open_data
from compiler.options import CompileOptions
from compiler.passes.manager import DumpIr, Instrument, PassManager, PassRecord
from compiler.pipeline import encoder_passes
from compiler.progress import Clock
from compiler.reference import check_parity
from compiler.report.debug import check_debug
from compiler.report.details import pass_lines
from compiler.texts import encoder_of, selftest_items, text_feeds
from targets.bundle.output import check_output
from targets.bundle.signature import load_private_key
from targets.detect import machine
from targets.errors import UnsupportedError, UsageError
from targets.registry import get_target
from targets.runtime.tokenize import TextEncoder
from targets.spec import Evidence, TargetSpec

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Accept = Callable[[Checkpoint], None]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A compile of which nothing has been computed yet.

    Attributes:
        specs: the targets.
        evidence: what a measurement on this machine shows, by target.
        paths: of the bundles, in the order of the targets.
        key: signs them; None leaves them unsigned.
        checkpoint: as it was read.
        data: what was read of the data files.
        graph: the float IR after the passes.
        passes: what was done to it.
        encoder: the checkpoint's tokenizer.
        emulated: whether a target can be emulated, or must.
    """

    specs: Sequence[TargetSpec]
    evidence: Mapping[str, Evidence]
    paths: Sequence[Path]
    key: Ed25519PrivateKey | None
    checkpoint: Checkpoint
    data: Opened
    graph: ir.Model
    passes: list[PassRecord]
    encoder: TextEncoder
    emulated: bool


class Preparation:
    """Reads everything that a compile is given, and refuses what it cannot use.

    Args:
        model: as of `compiler.compile.compile_model`.
        output: the folder that receives the bundles.
        options: checked already.
        clock: told of every stage.
        searches: whether something is chosen by texts held out of the calibration data.
    """

    def __init__(
        self, model: str, output: Path, options: CompileOptions, clock: Clock, *, searches: bool
    ) -> None:
        """Reads nothing yet."""
        self._model = model
        self._output = output
        self._options = options
        self._clock = clock
        self._searches = searches
        self._evidence: dict[str, Evidence] = {}

    def run(self, accept: Accept | None = None) -> Prepared:
        """Everything, cheap refusals first.

        Args:
            accept: called with the checkpoint before its data is read; raises what it has against it.

        Raises:
            BertcError: as `compiler.compile.compile_model`, and what `accept` raises.
        """
        options = self._options
        specs = self._targets()
        key = None if options.sign_key is None else load_private_key(options.sign_key)
        checkpoint = self._load()
        if accept is not None:
            accept(checkpoint)
        paths = [self._bundle_path(checkpoint, spec) for spec in specs]
        for path in paths:
            check_output(path, force=options.force)
            check_debug(path, force=options.force, wanted=options.keep_debug)
        with self._clock.stage("reading the texts"):
            data = open_data(options, checkpoint, self._clock.progress)
        graph, passes = self._trace(checkpoint)
        encoder = encoder_of(checkpoint, graph)
        emulated = options.validate_emulated or any(spec.emulation is not None for spec in specs)
        return Prepared(specs, self._evidence, paths, key, checkpoint, data, graph, passes, encoder, emulated)

    def _targets(self) -> list[TargetSpec]:
        specs = [get_target(name) for name in self._options.targets]
        here = machine()
        for index, spec in enumerate(specs):
            check_profiles(spec, self._options)
            if spec.id in [other.id for other in specs[:index]]:
                raise UsageError(f"the target {spec.id} is given twice", "give each --target once")
            self._evidence[spec.id] = evidence_of(spec, here)
            if self._searches and not computes_alike(spec, here):
                raise UnsupportedError(
                    f"--precision auto and --prune auto judge by the INT8 products of this machine, which "
                    f"saturate otherwise than those of {spec.id}",
                    "use --precision int8 and another pruning budget, or compile on a machine of that kind",
                )
            if not self._options.validate_emulated:
                continue
            if self._evidence[spec.id] == "simulated":
                require_emulator(emulated_cpu(spec).userland)
            else:
                self._clock.progress.warn(f"{spec.id} is this machine: it is measured, not emulated")
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
        for line in pass_lines(records):
            self._clock.progress.detail(line)
        return traced.model, records
