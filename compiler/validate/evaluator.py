"""What every task's evaluation has in common: predictions in, a `Validation` out."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from calibration import Interval
from compiler.validate.outputs import Predictions, Progress
from compiler.validate.record import Validation, gate
from targets.errors import IntegrityError
from targets.runtime.items import TextItem
from targets.runtime.session import Session

_DIGEST_VERSION = 1


class Evaluator(ABC):
    """Runs the evaluation data through a session, and compares what two sessions said.

    Without labels the primary metric compares with the FP32 model, whose own value is then 1.

    Attributes:
        task: one of `targets.spec.TASKS`.
        metric: name of the primary metric.
        n: rows of evaluation data.
        labelled: whether the metric compares with labels.
        digest: hex sha256 of the texts and labels, as they go into the model and into the metric.
        items: the texts and pairs that are run.
        seed: of the bootstrap.
    """

    def __init__(
        self,
        task: str,
        metric: str,
        items: Sequence[TextItem],
        gold: Sequence[Any] | None,
        *,
        n: int | None = None,
        seed: int = 0,
    ) -> None:
        """Takes the texts and their labels as plain JSON values, if there are labels."""
        self.task = task
        self.metric = metric
        self.items = tuple(items)
        self.n = len(self.items) if n is None else n
        self.labelled = gold is not None
        self.digest = _digest([task, metric], self.items, gold)
        self.seed = seed

    @property
    def scored(self) -> int:
        """Rows behind the primary metric."""
        return self.n

    @abstractmethod
    def predict(self, session: Session, progress: Progress | None = None) -> Predictions:
        """Runs the data, and keeps what the metrics need.

        Args:
            session: of the FP32 model or of the artifact.
            progress: called with the texts done and their total after every run.

        Returns:
            Arrays of numbers by name.

        Raises:
            AccuracyGateError: the model gives NaN or infinity.
        """

    @abstractmethod
    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Every metric that compares with labels, by name; none without labels."""

    @abstractmethod
    def agreement(self, baseline: Predictions, compiled: Predictions) -> float:
        """How alike two models' predictions are; 1 for the same ones."""

    @abstractmethod
    def interval(self, baseline: Predictions, compiled: Predictions) -> Interval:
        """The paired bootstrap of the primary metric."""

    @abstractmethod
    def fits(self, predictions: Predictions) -> bool:
        """Whether the arrays are of this data's shapes."""

    def fidelity(self, baseline: Predictions, compiled: Predictions) -> dict[str, float]:
        """The reported metrics that compare with the FP32 model, by name; 1 for the same predictions."""
        return {} if self.labelled else {self.metric: self.agreement(baseline, compiled)}

    def compare(
        self,
        baseline: Predictions | None,
        compiled: Predictions,
        *,
        max_drop: float,
        evidence: str = "measured",
    ) -> Validation:
        """The artifact against the FP32 model, with the gate's verdict.

        Args:
            baseline: of the FP32 model; None where it is not at hand, and then there is no verdict.
            compiled: of the artifact.
            max_drop: the largest absolute loss of the primary metric that passes.
            evidence: where the artifact ran.

        Raises:
            IntegrityError: predictions of other data.
        """
        self._check(compiled)
        if baseline is None:
            return self._unmeasured(compiled, max_drop, evidence)
        self._check(baseline)
        fidelity = self.fidelity(baseline, compiled)
        before = {**self.metrics(baseline), **dict.fromkeys(fidelity, 1.0)}
        after = {**self.metrics(compiled), **fidelity}
        interval = self.interval(baseline, compiled)
        delta = after[self.metric] - before[self.metric]
        return Validation(
            metric=self.metric,
            baseline=before[self.metric],
            compiled=after[self.metric],
            delta=delta,
            ci95=(interval.low, interval.high),
            agreement=self.agreement(baseline, compiled),
            n=self.scored,
            evidence=evidence,
            status=gate(delta, max_drop),
            max_drop=max_drop,
            labelled=self.labelled,
            metrics={"baseline": before, "compiled": after},
        )

    def _unmeasured(self, compiled: Predictions, max_drop: float, evidence: str) -> Validation:
        after = self.metrics(compiled)
        return Validation(
            metric=self.metric,
            baseline=None,
            compiled=after.get(self.metric),
            delta=None,
            ci95=None,
            agreement=None,
            n=self.scored,
            evidence=evidence,
            status="not-measured",
            max_drop=max_drop,
            labelled=self.labelled,
            metrics={"baseline": {}, "compiled": after},
            reason="there are no FP32 predictions of this data",
        )

    def _check(self, predictions: Predictions) -> None:
        if not self.fits(predictions):
            raise IntegrityError(
                "the predictions do not fit the evaluation data", "compile the model again with --eval-data"
            )


def has_shape(predictions: Predictions, name: str, shape: tuple[int | None, ...]) -> bool:
    """Whether there is an array of that shape; None stands for any length but 0."""
    array = predictions.get(name)
    if array is None or array.ndim != len(shape):
        return False
    return all(a == b if b is not None else a > 0 for a, b in zip(array.shape, shape, strict=True))


def _digest(head: list[str], items: Sequence[TextItem], gold: Sequence[Any] | None) -> str:
    digest = hashlib.sha256()
    digest.update(_line([_DIGEST_VERSION, *head]))
    for i, item in enumerate(items):
        digest.update(_line(item if isinstance(item, str) else list(item)))
        if gold is not None and i < len(gold):
            digest.update(_line({"gold": gold[i]}))
    return digest.hexdigest()


def _line(value: object) -> bytes:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii") + b"\n"
