"""Text classification: one label, several labels, or a number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration import (
    Interval,
    accuracy,
    exact_match,
    f1_macro,
    matthews,
    multilabel_f1,
    paired_bootstrap,
    paired_bootstrap_metric,
    pearson,
    spearman,
)
from compiler.validate.evaluator import Evaluator, has_shape
from compiler.validate.outputs import Predictions, Progress, collect_rows
from targets.runtime.items import TextItem
from targets.runtime.session import Session

_TASK = "text-classification"
_SAME = 0.01


class SingleLabelEvaluator(Evaluator):
    """One of several classes: accuracy, macro F1 and Matthews; agreement is the share of equal classes.

    Predictions: `logits` float32 [rows, labels].
    """

    def __init__(
        self, items: Sequence[TextItem], gold: NDArray[np.int64] | None, labels: int, *, seed: int = 0
    ) -> None:
        """Takes ids [rows], or None without labels, and the number of the model's labels."""
        metric = "agreement" if gold is None else "accuracy"
        super().__init__(_TASK, metric, items, None if gold is None else gold.tolist(), seed=seed)
        self._gold = gold
        self._labels = labels

    def predict(self, session: Session, progress: Progress | None = None) -> Predictions:
        """Runs the data and keeps the logits."""
        return {"logits": collect_rows(session, self.items, "logits", progress)}

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Accuracy, macro F1 and Matthews correlation."""
        if self._gold is None:
            return {}
        ids = _classes(predictions)
        return {
            "accuracy": accuracy(ids, self._gold),
            "f1_macro": f1_macro(ids, self._gold),
            "matthews": matthews(ids, self._gold),
        }

    def agreement(self, baseline: Predictions, compiled: Predictions) -> float:
        """Share of texts with the same likeliest class."""
        return accuracy(_classes(compiled), _classes(baseline))

    def interval(self, baseline: Predictions, compiled: Predictions) -> Interval:
        """Of the difference of accuracies, or of the agreement below 1."""
        before, after = _classes(baseline), _classes(compiled)
        gold = before if self._gold is None else self._gold
        return paired_bootstrap(before == gold, after == gold, seed=self.seed)

    def fits(self, predictions: Predictions) -> bool:
        """Whether every row has one logit per label."""
        return has_shape(predictions, "logits", (self.n, self._labels or None))


class MultiLabelEvaluator(Evaluator):
    """Several labels of a text, those of a probability of 0.5 and more: micro and macro F1, exact match.

    Agreement is the share of equal decisions over all texts and labels. Predictions: `logits` float32
    [rows, labels].
    """

    def __init__(
        self, items: Sequence[TextItem], gold: NDArray[np.int64] | None, labels: int, *, seed: int = 0
    ) -> None:
        """Takes 0 and 1 [rows, labels], or None without labels, and the number of the model's labels."""
        metric = "agreement" if gold is None else "f1_micro"
        super().__init__(_TASK, metric, items, None if gold is None else gold.tolist(), seed=seed)
        self._gold = None if gold is None else gold.astype(bool)
        self._labels = labels

    def predict(self, session: Session, progress: Progress | None = None) -> Predictions:
        """Runs the data and keeps the logits."""
        return {"logits": collect_rows(session, self.items, "logits", progress)}

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Micro F1, macro F1 and the share of texts with every label right."""
        if self._gold is None:
            return {}
        chosen = _chosen(predictions)
        return {
            "f1_micro": multilabel_f1(chosen, self._gold, "micro"),
            "f1_macro": multilabel_f1(chosen, self._gold, "macro"),
            "exact_match": exact_match(chosen, self._gold),
        }

    def agreement(self, baseline: Predictions, compiled: Predictions) -> float:
        """Share of equal decisions."""
        return float(np.mean(_chosen(compiled) == _chosen(baseline)))

    def interval(self, baseline: Predictions, compiled: Predictions) -> Interval:
        """Of the difference of micro F1, or of the agreement below 1."""
        before, after = _chosen(baseline), _chosen(compiled)
        if self._gold is None:
            same = np.mean(before == after, axis=1)
            return paired_bootstrap(np.ones(self.n), same, seed=self.seed)
        a, b = _counts(before, self._gold), _counts(after, self._gold)
        return paired_bootstrap_metric(
            lambda rows: _micro_f1(a[rows]), lambda rows: _micro_f1(b[rows]), self.n, seed=self.seed
        )

    def fits(self, predictions: Predictions) -> bool:
        """Whether every row has one logit per label."""
        return has_shape(predictions, "logits", (self.n, self._labels or None))


class RegressionEvaluator(Evaluator):
    """A number: Pearson and Spearman correlation.

    Agreement is Pearson's correlation with the FP32 model's numbers. Predictions: `values` float32 [rows].
    """

    def __init__(self, items: Sequence[TextItem], gold: NDArray[np.float64] | None, *, seed: int = 0) -> None:
        """Takes numbers [rows], or None without labels."""
        metric = "correlation" if gold is None else "pearson"
        super().__init__(_TASK, metric, items, None if gold is None else gold.tolist(), seed=seed)
        self._gold = gold

    def predict(self, session: Session, progress: Progress | None = None) -> Predictions:
        """Runs the data and keeps the first logit, which is the number."""
        return {"values": collect_rows(session, self.items, "logits", progress)[:, 0]}

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Pearson's and Spearman's correlation with the labels."""
        if self._gold is None:
            return {}
        values = predictions["values"]
        return {"pearson": pearson(values, self._gold), "spearman": spearman(values, self._gold)}

    def agreement(self, baseline: Predictions, compiled: Predictions) -> float:
        """Pearson's correlation of the two models."""
        return _correlation(compiled["values"], baseline["values"])

    def interval(self, baseline: Predictions, compiled: Predictions) -> Interval:
        """Of the difference of Pearson's correlations, or of the correlation below 1."""
        before, after = baseline["values"], compiled["values"]
        gold = self._gold
        if gold is None:
            return paired_bootstrap_metric(
                lambda _: 1.0, lambda rows: _correlation(after[rows], before[rows]), self.n, seed=self.seed
            )
        return paired_bootstrap_metric(
            lambda rows: pearson(before[rows], gold[rows]),
            lambda rows: pearson(after[rows], gold[rows]),
            self.n,
            seed=self.seed,
        )

    def fits(self, predictions: Predictions) -> bool:
        """Whether every row has a number."""
        return has_shape(predictions, "values", (self.n,))


def _classes(predictions: Predictions) -> NDArray[np.int64]:
    return np.asarray(predictions["logits"].argmax(axis=1), dtype=np.int64)


def _chosen(predictions: Predictions) -> NDArray[np.bool_]:
    """The logistic function is 0.5 where the logit is 0."""
    return np.asarray(predictions["logits"] >= 0.0, dtype=np.bool_)


def _counts(chosen: NDArray[np.bool_], gold: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Right, given and true labels of each row, int64 [rows, 3]."""
    return np.stack([np.sum(a, axis=1) for a in (chosen & gold, chosen, gold)], axis=1).astype(np.int64)


def _micro_f1(counts: NDArray[np.int64]) -> float:
    right, given, true = counts.sum(axis=0).tolist()
    return float(2.0 * right / max(given + true, 1))


def _correlation(after: NDArray[np.float32], before: NDArray[np.float32]) -> float:
    """Pearson's correlation; of a constant, which has none, whether the numbers are the same within 1%."""
    if np.array_equal(after, before):
        return 1.0
    if np.all(before == before[0]):
        return float(np.allclose(after, before, rtol=_SAME, atol=_SAME))
    return pearson(after, before)
