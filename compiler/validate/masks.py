"""Fill-mask: the likeliest token for a mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration import Interval, accuracy, paired_bootstrap
from compiler.validate.evaluator import Evaluator, has_shape
from compiler.validate.masking import UNKNOWN, Masked
from compiler.validate.outputs import Predictions, Progress, check_finite
from targets.runtime.session import Session
from targets.runtime.tasks.fill_mask import mask_positions


class MaskEvaluator(Evaluator):
    """The token at each text's first mask: accuracy is how often the likeliest is the one that was hidden.

    Texts that came with a mask of their own count for the agreement alone, which is the share of equal
    tokens. Predictions: `tokens` int32 [texts].
    """

    def __init__(self, masked: Sequence[Masked], *, seed: int = 0) -> None:
        """Takes the texts with their masks."""
        gold = np.array([one.gold for one in masked], dtype=np.int64)
        known = np.flatnonzero(gold != UNKNOWN)
        metric = "accuracy" if len(known) else "agreement"
        super().__init__("fill-mask", metric, [one.item for one in masked], gold.tolist(), seed=seed)
        self.labelled = len(known) > 0
        self._gold = gold
        self._known = known

    @property
    def scored(self) -> int:
        """Texts whose hidden token is known, or all of them."""
        return len(self._known) if self.labelled else self.n

    def predict(self, session: Session, progress: Progress | None = None) -> Predictions:
        """Runs the data and keeps the likeliest token of each first mask."""
        tokens = np.zeros(self.n, dtype=np.int32)
        size = session.encoder.vocab_size
        for index, inference in session.stream(self.items, progress):
            place = mask_positions(inference, session.encoder)[0]
            logits = check_finite(inference.windows[0].outputs["logits"][place, :size], index)
            tokens[index] = logits.argmax()
        return {"tokens": tokens}

    def metrics(self, predictions: Predictions) -> dict[str, float]:
        """Share of hidden tokens found."""
        if not self.labelled:
            return {}
        return {"accuracy": float(np.mean(self._hits(predictions)))}

    def agreement(self, baseline: Predictions, compiled: Predictions) -> float:
        """Share of texts with the same likeliest token."""
        return accuracy(compiled["tokens"], baseline["tokens"])

    def interval(self, baseline: Predictions, compiled: Predictions) -> Interval:
        """Of the difference of accuracies, or of the agreement below 1."""
        if self.labelled:
            before, after = self._hits(baseline), self._hits(compiled)
        else:
            before, after = np.ones(self.n, dtype=np.bool_), baseline["tokens"] == compiled["tokens"]
        return paired_bootstrap(before, after, seed=self.seed)

    def fits(self, predictions: Predictions) -> bool:
        """Whether every text has a token."""
        return has_shape(predictions, "tokens", (self.n,)) and predictions["tokens"].dtype.kind == "i"

    def _hits(self, predictions: Predictions) -> NDArray[np.bool_]:
        return np.asarray(predictions["tokens"][self._known] == self._gold[self._known], dtype=np.bool_)
