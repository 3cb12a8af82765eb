"""What is built where everything has been decided before: one artifact, as a bundle's record says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from compiler.attempts import Attempt
from compiler.auto_precision import Mixed
from compiler.build import LOWERINGS, Candidate, build
from compiler.lower.artifact import Artifact
from compiler.options import CompileOptions
from compiler.progress import Clock
from compiler.quantize.mixed import with_float
from compiler.quantize.quantizer import Quantized
from compiler.replay.decisions import Decisions, RecordedFloats
from compiler.source import Source
from targets.errors import IntegrityError, UsageError
from targets.spec import TargetSpec

OTHER_MODEL: Final = "compile the checkpoint that the record names, with the bertc that it names"


@dataclass(frozen=True, slots=True)
class Replayed:
    """A `compiler.attempts.Strategy` that follows a record.

    Attributes:
        decisions: of the compile that is repeated.
        options: of that compile.
        clock: told of every stage.
    """

    decisions: Decisions
    options: CompileOptions
    clock: Clock

    @property
    def searches(self) -> bool:
        """Nothing is judged by held-out texts."""
        return False

    def of(self, source: Source, spec: TargetSpec) -> Iterator[Attempt]:
        """The one attempt.

        Raises:
            IntegrityError: the record names modules or products that the model does not have.
        """
        variant = self._cut(source)
        options = replace(self.options, runtime=self.decisions.runtime)
        floats = None if self.decisions.floats is None else ReplayedFloats(self.decisions.floats)
        limit = source.encoder.max_length
        yield (
            variant,
            build(variant.graph, spec, options, variant.texts, self.clock, variant.known, limit, floats),
        )

    def with_speedup(self, source: Source, spec: TargetSpec, best: Candidate) -> Source:
        """The source: the speed-ups of the record are in its pruning already."""
        del spec, best
        return source

    def _cut(self, source: Source) -> Source:
        if source.pruning is None or self.options.prune_flops is not None:
            return source
        if self.decisions.cut is None:
            return source.whole(self.options)
        try:
            return source.cut(source.pruning.as_recorded(self.decisions.cut), self.options)
        except UsageError as error:
            raise IntegrityError(f"bundle.json: compression.pruning: {error.message}", OTHER_MODEL) from error


@dataclass(frozen=True, slots=True)
class ReplayedFloats:
    """A `compiler.auto_precision.ChoosesFloat` that follows a record."""

    recorded: RecordedFloats

    def choose(self, quantized: Quantized, artifact: Artifact, apart: Callable[[], Quantized]) -> Mixed:
        """The products of the record in float, with its reasons.

        Raises:
            IntegrityError: a product that the model does not have.
        """
        found = apart() if self.recorded.found else quantized
        plan = found.plan
        for name, reason in self.recorded.reasons.items():
            if name not in plan.linears and name not in plan.attentions:
                raise IntegrityError(
                    f"bundle.json: compression.quantization.float: the model has no product {name!r}",
                    OTHER_MODEL,
                )
            plan = with_float(plan, (name,), reason)
        plan = replace(plan, scheme={**plan.scheme, "search": dict(self.recorded.search)})
        if self.recorded.found:
            artifact = LOWERINGS[artifact.runtime](found.model, plan, "int8")
        return Mixed(artifact, replace(found, plan=plan), None)
