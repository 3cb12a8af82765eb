"""Question answering: the answer's text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration import Interval, answer_scores, paired_bootstrap
from compiler.validate.evaluator import Evaluator, has_shape
from compiler.validate.outputs import Predictions, Progress, check_finite
from targets.runtime.session import Session
from targets.runtime.tasks import question_answering


class AnswerEvaluator(Evaluator):
    """A span of the context: F1 and exact match as SQuAD defines them.

    A bundle always answers, so questions that the context does not answer count for the agreement alone,
    which is the share of identical answers. Predictions: `spans` int32 [questions, 2], the characters
    [start, end) of the context.
    """

    def __init__(
        self,
        pairs: Sequence[tuple[str, str]],
        gold: Sequence[tuple[str, ...]] | None,
        *,
        seed: int = 0,
    ) -> None:
        """Takes (question, context) pairs, and the accepted answers of each, if they are known."""
        answers = None if gold is None else [list(texts) for texts in gold]
        answerable = [i for i, texts in enumerate(gold or ()) if texts]
        metric = "f1" if answerable else "agreement"
        super().__init__("question-answering", metric, pairs, answers, seed=seed)
        self.labelled = bool(answerable)
        self._pairs = tuple(pairs)
        self._answerable = np.array(answerable, dtype=np.int64)
        self._gold = [gold[i] for i in answerable] if gold is not None else []

    @property
    def scored(self) -> int:
        """Questions with an answer, or all of them without labels."""
        return len(self._answerable) if self.labelled else self.n

    def predict(self, session: Session, progress: Progress | None = None) -> Predictions:
        """Runs the data and keeps where the answers are."""
        spans = np.zeros((self.n, 2), dtype=np.int32)
        for index, inference in session.stream(self._pairs, progress):
            for window in inference.windows:
                check_finite(window.outputs["start_logits"], index)
                check_finite(window.outputs["end_logits"], index)
            answer = question_answering.decode(inference)
            spans[index] = answer.start, answer.end
        return {"spans": spans}

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Mean F1 and exact match over the questions that have an answer."""
        if not self.labelled:
            return {}
        exact, f1 = self._scores(predictions).mean(axis=0).tolist()
        return {"f1": f1, "exact_match": exact}

    def agreement(self, baseline: Predictions, compiled: Predictions) -> float:
        """Share of identical answers."""
        return float(np.mean(self._same(baseline, compiled)))

    def interval(self, baseline: Predictions, compiled: Predictions) -> Interval:
        """Of the difference of F1, or of the agreement below 1."""
        if self.labelled:
            before, after = self._scores(baseline)[:, 1], self._scores(compiled)[:, 1]
        else:
            before, after = np.ones(self.n), self._same(baseline, compiled)
        return paired_bootstrap(before, after, seed=self.seed)

    def fits(self, predictions: Predictions) -> bool:
        """Whether every span lies in its context."""
        if not has_shape(predictions, "spans", (self.n, 2)) or predictions["spans"].dtype.kind != "i":
            return False
        start, end = predictions["spans"].T
        lengths = np.array([len(context) for _, context in self._pairs])
        return bool(np.all((start >= 0) & (start <= end) & (end <= lengths)))

    def _texts(self, predictions: Predictions) -> list[str]:
        spans = predictions["spans"].tolist()
        return [context[start:end] for (_, context), (start, end) in zip(self._pairs, spans, strict=True)]

    def _same(self, baseline: Predictions, compiled: Predictions) -> NDArray[np.float64]:
        pairs = zip(self._texts(baseline), self._texts(compiled), strict=True)
        return np.array([a == b for a, b in pairs], dtype=np.float64)

    def _scores(self, predictions: Predictions) -> NDArray[np.float64]:
        texts = self._texts(predictions)
        return answer_scores([texts[i] for i in self._answerable], self._gold)
