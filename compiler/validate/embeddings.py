"""Feature extraction: how near the embeddings stay to the FP32 model's, and what they are good for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration import (
    Interval,
    cosine,
    dense_ranks,
    overlap_at_k,
    paired_bootstrap,
    paired_bootstrap_metric,
    spearman,
)
from compiler.validate.evaluator import Evaluator, has_shape
from compiler.validate.outputs import Predictions, Progress, collect_rows
from targets.runtime.session import Session

_NEIGHBOURS: Final = 10
_MAX_RETRIEVAL: Final = 4096


class EmbeddingEvaluator(Evaluator):
    """Sentence embeddings: Spearman of pairs' cosines with their scores, or the cosine to FP32.

    The cosine to FP32 and the overlap of the 10 nearest neighbours are always reported; the overlap over at
    most 4,096 texts, taken evenly, because its cost grows with their square. Agreement is the mean cosine.
    Predictions: `embeddings` float32 [texts, dimension]; the texts of a pair are embedded one by one.
    """

    def __init__(
        self,
        texts: Sequence[str],
        gold: NDArray[np.float64] | None,
        *,
        rows: int,
        seed: int = 0,
    ) -> None:
        """Takes the texts, with scores those of all pairs one after another, and the number of rows."""
        metric = "cosine" if gold is None else "spearman"
        scores = None if gold is None else gold.tolist()
        super().__init__("feature-extraction", metric, texts, scores, n=rows, seed=seed)
        self._gold = gold

    @property
    def scored(self) -> int:
        """Scored pairs, or texts."""
        return self.n if self.labelled else len(self.items)

    def predict(self, session: Session, progress: Progress | None = None) -> Predictions:
        """Runs the data and keeps the embeddings."""
        return {"embeddings": collect_rows(session, self.items, "sentence_embedding", progress)}

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Spearman's correlation of the pairs' cosines with their scores."""
        return {} if self._gold is None else {"spearman": spearman(_similarities(predictions), self._gold)}

    def fidelity(self, baseline: Predictions, compiled: Predictions) -> dict[str, float]:
        """Mean cosine to the FP32 model, and overlap of the nearest neighbours if there are two texts."""
        found = {"cosine": self.agreement(baseline, compiled)}
        before, after = baseline["embeddings"], compiled["embeddings"]
        if len(before) > 1:
            rows = np.arange(0, len(before), -(-len(before) // _MAX_RETRIEVAL))
            found["overlap_at_10"] = float(overlap_at_k(after[rows], before[rows], _NEIGHBOURS).mean())
        return found

    def agreement(self, baseline: Predictions, compiled: Predictions) -> float:
        """Mean cosine of the two models' embeddings."""
        return float(_cosines(baseline, compiled).mean())

    def interval(self, baseline: Predictions, compiled: Predictions) -> Interval:
        """Of the difference of Spearman's correlations, or of the mean cosine below 1."""
        if self._gold is None:
            similar = _cosines(baseline, compiled)
            return paired_bootstrap(np.ones(len(similar)), similar, seed=self.seed)
        gold = dense_ranks(self._gold)
        before, after = (dense_ranks(_similarities(side)) for side in (baseline, compiled))
        return paired_bootstrap_metric(
            lambda rows: spearman(before[rows], gold[rows]),
            lambda rows: spearman(after[rows], gold[rows]),
            self.n,
            seed=self.seed,
        )

    def fits(self, predictions: Predictions) -> bool:
        """Whether every text has an embedding."""
        return has_shape(predictions, "embeddings", (len(self.items), None))


def _similarities(predictions: Predictions) -> NDArray[np.float64]:
    vectors = predictions["embeddings"]
    return cosine(vectors[0::2], vectors[1::2])


def _cosines(baseline: Predictions, compiled: Predictions) -> NDArray[np.float64]:
    before, after = baseline["embeddings"], compiled["embeddings"]
    return np.where(np.all(before == after, axis=1), 1.0, cosine(after, before))
