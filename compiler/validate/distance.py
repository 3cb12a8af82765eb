"""How far two models' predictions lie apart."""

from __future__ import annotations

import numpy as np

from compiler.validate.evaluator import Evaluator
from compiler.validate.outputs import Predictions


def distance(evaluator: Evaluator, expected: Predictions, found: Predictions) -> dict[str, float | None]:
    """Agreement of the answers, and the differences of what the models put out.

    Args:
        evaluator: whose predictions they are.
        expected: of one model.
        found: of the other, on the same texts.

    Returns:
        "agreement" from 0 to 1; "max_abs" and "mse", the largest and the mean squared difference over all
        numbers, None where the predictions are answers and no numbers.
    """
    apart = [
        np.abs(np.asarray(found[name], np.float64) - expected[name]).ravel()
        for name in sorted(expected)
        if expected[name].dtype.kind == "f" and found[name].shape == expected[name].shape
    ]
    gaps = np.concatenate(apart) if apart else np.empty(0)
    numbers = gaps.size > 0
    return {
        "agreement": evaluator.agreement(expected, found),
        "max_abs": float(gaps.max()) if numbers else None,
        "mse": float(np.square(gaps).mean()) if numbers else None,
    }
