"""`--precision auto` for one runtime: rank, price, search, and the artifact that comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import onnx_ir as ir
from numpy.typing import NDArray

from calibration.cache import ArrayCache
from compiler.heldout import HeldOut
from compiler.latency import fitting_shapes, full_feeds
from compiler.latency_table import LatencyTable, measure_table
from compiler.lower.artifact import Artifact
from compiler.progress import Clock
from compiler.quantize.mixed import Choice, Gate, Ranked, Tried, apply, rank, search, with_float
from compiler.quantize.plan import QuantPlan
from compiler.quantize.quantizer import Quantized
from compiler.quantize.sensitivity import ATTENTION, Group, groups_of, measure
from compiler.sessions import text_steps
from compiler.validate import Validation
from targets.errors import AccuracyGateError
from targets.runtime.backends.base import Backend
from targets.spec import Precision, Runtime

Lower = Callable[[ir.Model, QuantPlan, Precision], Artifact]

SHAPE: Final = (1, 128)
LINEARS_RUN_IN: Final = "onnxruntime"
"""Where linear layers' sensitivities are measured for every runtime: the numbers are the same up to the
order of additions, and onnxruntime loads a model in the least time."""
_LEAST_VOCABULARY: Final = 6


@dataclass(frozen=True, slots=True)
class Mixed:
    """One runtime's artifact after the search.

    Attributes:
        artifact: its files.
        quantized: with the plan that it was lowered from.
        choice: what the search found; None where none was made.
    """

    artifact: Artifact
    quantized: Quantized
    choice: Choice | None

    def after(self, first: Tried) -> Mixed:
        """With what was tried before the search."""
        if self.choice is None:
            return self
        return replace(self, choice=replace(self.choice, tried=(first, *self.choice.tried)))


class ChoosesFloat(Protocol):
    """Decides which products of a runtime's artifact stay in float."""

    def choose(self, quantized: Quantized, artifact: Artifact, apart: Callable[[], Quantized]) -> Mixed:
        """The artifact to ship.

        Args:
            quantized: all INT8.
            artifact: its lowering.
            apart: quantizes so that no layer depends on another being INT8.
        """


@dataclass(frozen=True)
class AutoPrecision:
    """What the runtimes and targets of one compile share in their searches.

    Attributes:
        held_out: the slice, and the FP32 model's answers.
        gate: what must hold on it.
        lowerings: by runtime.
        load: opens an artifact as a device would.
        clock: told of each stage.
        max_length: tokens that the model reads.
        threads: that `load` opens with.
        seed: of the timing's orders.
        tables: latency tables by runtime; those not there are measured.
    """

    held_out: HeldOut
    gate: Gate
    lowerings: Mapping[str, Lower]
    load: Callable[[Artifact], Backend]
    clock: Clock
    max_length: int
    threads: int = 0
    seed: int = 0
    tables: Mapping[str, LatencyTable] = field(default_factory=dict)
    _errors: dict[int, dict[str, float]] = field(default_factory=dict)

    def choose(self, quantized: Quantized, artifact: Artifact, apart: Callable[[], Quantized]) -> Mixed:
        """Leave as little in float as the gate allows.

        Args:
            quantized: all INT8.
            artifact: its lowering.
            apart: quantizes so that no layer depends on another being INT8, from which the search starts.

        Raises:
            AccuracyGateError: not even all products in float pass.
        """
        first = self.judge(artifact)
        if first is not None and self.gate.holds(first):
            choice = Choice((), (), first, tried=(Tried((), first, holds=True),))
            plan = apply(quantized.plan, choice, self.gate, total=0.0, outputs="", shape="")
            return Mixed(artifact, replace(quantized, plan=plan), choice)
        found = _Search(self, apart(), artifact.runtime).run()
        return found.after(Tried((), first, holds=False))

    def judge(self, artifact: Artifact) -> Validation | None:
        """The artifact on the held-out slice; None where its outputs are not finite."""
        held_out = self.held_out
        stage = f"held-out texts on {artifact.runtime}"
        with self.clock.stage(stage) as steps, held_out.session(self.load(artifact)) as session:
            report = text_steps(steps, held_out.evaluator, session)
            try:
                found = held_out.evaluator.predict(session, report)
            except AccuracyGateError:
                return None
        return held_out.evaluator.compare(held_out.baseline, found, max_drop=self.gate.max_drop)

    def _known(self, model: ir.Model) -> dict[str, float]:
        """Errors of the groups of one quantized graph, which the runtimes share."""
        return self._errors.setdefault(id(model), {})


class _Search:
    """One runtime's search, of a plan that does not pass as it is."""

    def __init__(self, auto: AutoPrecision, quantized: Quantized, runtime: Runtime) -> None:
        self._auto = auto
        self._quantized = quantized
        self._runtime = runtime

    def run(self) -> Mixed:
        auto, plan = self._auto, self._quantized.plan
        groups = groups_of(self._quantized.model, plan)
        errors = self._sensitivities(groups)
        total = self._error(self._lower(plan))
        table = auto.tables.get(self._runtime) or self._table(groups)
        choice = search(rank(groups, errors, table.saved_ms), self._try, auto.gate)
        outputs = " and ".join(auto.held_out.probe.outputs)
        decided = apply(plan, choice, auto.gate, total=total, outputs=outputs, shape=table.label)
        with auto.clock.stage(f"lowering to {self._runtime}"):
            artifact = self._lower(decided)
        return Mixed(artifact, replace(self._quantized, plan=decided), choice)

    def _sensitivities(self, groups: tuple[Group, ...]) -> dict[str, float]:
        auto, model = self._auto, self._quantized.model

        def error(plan: QuantPlan, group: Group) -> float:
            attention = group.kind.startswith(f"{ATTENTION} ")
            runtime = self._runtime if attention else LINEARS_RUN_IN
            return self._error(auto.lowerings[runtime](model, plan, "int8"))

        with auto.clock.stage("measuring sensitivities", len(groups)) as advance:
            return measure(self._quantized.plan, groups, error, known=auto._known(model), advance=advance)

    def _error(self, artifact: Artifact) -> float:
        probe = self._auto.held_out.probe
        backend = self._auto.load(artifact)
        names = backend.input_names

        def run(feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            return backend.run({name: feeds[name] for name in names}, probe.outputs)

        try:
            return probe.error(run)
        finally:
            backend.close()

    def _table(self, groups: tuple[Group, ...]) -> LatencyTable:
        auto = self._auto
        ((batch, tokens),) = fitting_shapes(auto.max_length, (SHAPE,))
        with auto.clock.stage(f"timing INT8 on {self._runtime}") as steps:
            return measure_table(
                self._quantized.plan,
                groups,
                lambda plan: auto.load(self._lower(plan)),
                full_feeds(_LEAST_VOCABULARY, batch, tokens),
                seed=auto.seed,
                threads=auto.threads,
                steps=steps,
                cache=ArrayCache(),
            )

    def _try(self, floats: tuple[Ranked, ...]) -> Validation | None:
        plan = self._quantized.plan
        for each in floats:
            plan = with_float(plan, each.group.names, "tried")
        with self._auto.clock.stage(f"lowering to {self._runtime}"):
            artifact = self._lower(plan)
        return self._auto.judge(artifact)

    def _lower(self, plan: QuantPlan) -> Artifact:
        return self._auto.lowerings[self._runtime](self._quantized.model, plan, "int8")
