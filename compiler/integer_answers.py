"""What the exact integer reference answers, in place of a CPU that is not here."""

from __future__ import annotations

from compiler.build import Candidate
from compiler.integer.reference import IntegerReference
from compiler.progress import Clock
from compiler.quantize.plan import QuantPlan
from compiler.sessions import predict_in_stage
from compiler.source import Source
from compiler.validate import Evaluator, Predictions
from targets.spec import TargetSpec


def is_integer(candidate: Candidate) -> bool:
    """Whether its products are of integers that the integer reference computes."""
    precision, runtime = candidate.artifact.precision, candidate.artifact.runtime
    return precision == "int8" or (precision == "int8-dynamic" and runtime == "onnxruntime")


def integer_reference(candidate: Candidate, spec: TargetSpec) -> IntegerReference:
    """The exact meaning of a candidate's plan on the target's CPUs."""
    quantized = candidate.quantized
    return IntegerReference(quantized.model, quantized.plan, saturating=spec.saturates)


class IntegerAnswers:
    """What the exact integer reference answers; computed once for targets that share a plan.

    Args:
        clock: told of each stage.
    """

    def __init__(self, clock: Clock) -> None:
        """Knows nothing yet."""
        self._clock = clock
        self._known: dict[tuple[int, bool, str], tuple[QuantPlan, Predictions]] = {}

    def of(self, candidate: Candidate, spec: TargetSpec, evaluator: Evaluator, source: Source) -> Predictions:
        """The answers to an evaluator's texts by the meaning that a plan has on the target's CPUs.

        Args:
            candidate: what was built; see `is_integer`.
            spec: the target, which may saturate.
            evaluator: of the texts.
            source: what was compiled.
        """
        plan = candidate.quantized.plan
        key = (id(plan), spec.saturates, evaluator.digest)
        if key in self._known:
            return self._known[key][1]
        stage = f"simulating {spec.id} on integers"
        found, _ = predict_in_stage(
            self._clock, stage, evaluator, lambda: source.session(integer_reference(candidate, spec))
        )
        self._known[key] = plan, found
        return found
