"""What a compile emulates: a sample of the evaluation data, and what is known of it."""

from __future__ import annotations

from dataclasses import replace

from compiler.build import Candidate
from compiler.emulate.cpus import emulated_cpu
from compiler.emulate.validation import Sample, validate_emulated
from compiler.integer_answers import IntegerAnswers, is_integer
from compiler.options import CompileOptions
from compiler.packing import Draft, Packer
from compiler.progress import Clock, by_totals
from compiler.quantize.mixed import Gate
from compiler.source import Source
from compiler.validate import Validation
from targets.spec import TargetSpec
from targets.temporary import scratch_folder


class Samples:
    """The samples of the targets of one compile.

    Args:
        options: of the compile.
        clock: told of each stage.
        integers: answers of the integer reference.
    """

    def __init__(self, options: CompileOptions, clock: Clock, integers: IntegerAnswers) -> None:
        """Runs nothing yet."""
        self._integers = integers
        self._options = options
        self._clock = clock

    def of(self, source: Source, candidate: Candidate, spec: TargetSpec) -> Sample | None:
        """The sample for one artifact; None where nobody will emulate the target, or without data."""
        known, wanted = source.sample, spec.emulation is not None or self._options.validate_emulated
        if known is None or spec.gpu or not wanted:
            return None
        integers = self._integers
        integer = integers.of(candidate, spec, known.evaluator, source) if is_integer(candidate) else None
        return Sample(known.evaluator, known.predictions, integer)

    def emulated(self, packer: Packer, draft: Draft, sample: Sample, simulated: Validation) -> Validation:
        """The record of a draft that ran on the emulated target, with what was simulated before inside it.

        Raises:
            MissingBackendError: the emulator is not set up.
            IncompatibleError: the bundle does not run there.
        """
        cpu, options = emulated_cpu(draft.spec), self._options
        with scratch_folder("draft") as place:
            bundle = packer.write_draft(draft, place / draft.path.name, simulated)
            with self._clock.stage(f"emulating {cpu.id}", len(sample.evaluator.items)) as advance:
                found = validate_emulated(
                    bundle,
                    cpu,
                    sample,
                    max_drop=options.max_drop,
                    threads=options.threads,
                    progress=by_totals(advance),
                )
        judged = Gate(options.max_drop, options.min_agreement).judged(found)
        return replace(judged, simulated=simulated)
