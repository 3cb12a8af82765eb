"""Runs what was built on the evaluation data, until something passes the gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from compiler.attempts import Strategy
from compiler.build import Candidate, open_artifact
from compiler.integer_answers import IntegerAnswers, is_integer
from compiler.options import CompileOptions
from compiler.outcome import Chosen, Outcome
from compiler.progress import Clock
from compiler.quantize.mixed import Gate
from compiler.sessions import predict_in_stage
from compiler.source import Reference, Source
from compiler.validate import Validation, not_measured
from targets.errors import AccuracyGateError, InternalError
from targets.spec import Evidence, TargetSpec


class Measuring:
    """Measures the targets of one compile.

    Args:
        options: of the compile.
        strategy: what is built for each target.
        clock: told of each stage.
        integers: answers of the integer reference.
        evidence: what a measurement on this machine shows, by target.
    """

    def __init__(
        self,
        options: CompileOptions,
        strategy: Strategy,
        clock: Clock,
        integers: IntegerAnswers,
        evidence: Mapping[str, Evidence],
    ) -> None:
        """Measures nothing yet."""
        self._options = options
        self._strategy = strategy
        self._clock = clock
        self._integers = integers
        self._evidence = evidence

    def first_to_pass(self, source: Source, spec: TargetSpec) -> Chosen:
        """The first attempt that passes on the evaluation data; the first of all, failed, if none does."""
        failures = []
        for variant, candidates in self._strategy.of(source, spec):
            chosen = self._choose(candidates, variant, spec)
            if chosen.validation.status != "failed":
                return replace(chosen, outcomes=self._with_others(chosen, spec))
            failures.append(chosen)
        return failures[0]

    def _choose(self, candidates: list[Candidate], source: Source, spec: TargetSpec) -> Chosen:
        """The fastest candidate that passes the gate; the fastest, and its failure, if none does."""
        if source.reference is None:
            nothing = not_measured("no evaluation data was given")
            return Chosen(source, nothing, [Outcome(each) for each in candidates])
        outcomes = {id(each): Outcome(each) for each in candidates}
        failed: list[Candidate] = []
        for each in candidates:
            try:
                outcomes[id(each)] = Outcome(each, self._measure(each, source, source.reference, spec))
            except AccuracyGateError as error:
                if each is candidates[-1] and not failed:
                    raise
                self._clock.progress.warn(f"{error.message}: {each.artifact.runtime} was left out")
                outcomes[id(each)] = Outcome(each, note=error.message)
                continue
            validation = outcomes[id(each)].validation
            if validation is not None and validation.status != "failed":
                return _chosen(source, each, outcomes)
            failed.append(each)
        return _chosen(source, failed[0], outcomes)

    def _with_others(self, chosen: Chosen, spec: TargetSpec) -> list[Outcome]:
        """The outcomes, with the accuracy of slower artifacts where the report shows it."""
        reference = chosen.source.reference
        if reference is None or not self._options.report:
            return list(chosen.outcomes)
        found = []
        for each in chosen.outcomes:
            if each.validation is None and not each.note:
                try:
                    validation = self._measure(each.candidate, chosen.source, reference, spec)
                    each = replace(each, validation=validation)
                except AccuracyGateError as error:
                    each = replace(each, note=error.message)
            found.append(each)
        return found

    def _measure(
        self, candidate: Candidate, source: Source, reference: Reference, spec: TargetSpec
    ) -> Validation:
        options, evidence = self._options, self._evidence[spec.id]
        if evidence == "simulated" and not spec.gpu and is_integer(candidate):
            compiled = self._integers.of(candidate, spec, reference.evaluator, source)
        else:
            how = "validating on" if evidence == "measured" else "simulating"
            stage = f"{how} {candidate.artifact.runtime}"
            compiled, _ = predict_in_stage(
                self._clock,
                stage,
                reference.evaluator,
                lambda: source.session(open_artifact(candidate.artifact, threads=options.threads)),
            )
        found = reference.evaluator.compare(
            reference.predictions, compiled, max_drop=options.max_drop, evidence=evidence
        )
        return Gate(options.max_drop, options.min_agreement).judged(found)


def _chosen(source: Source, best: Candidate, outcomes: Mapping[int, Outcome]) -> Chosen:
    first = outcomes[id(best)]
    if first.validation is None:
        raise InternalError("what ships was not measured")
    others = (each for each in outcomes.values() if each is not first)
    return Chosen(source, first.validation, [first, *others])
