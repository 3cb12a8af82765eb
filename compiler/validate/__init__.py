"""Is the artifact as good as the FP32 model? Measured through the runtime's own session, with an interval.

Needs numpy and a backend alone, so that a bundle can be validated on its device.
"""

from __future__ import annotations

from compiler.validate.distance import distance
from compiler.validate.evaluator import Evaluator
from compiler.validate.make import make_evaluator
from compiler.validate.outputs import Predictions, Progress
from compiler.validate.record import Status, Validation, not_measured
from compiler.validate.store import load_predictions, save_predictions

__all__ = [
    "Evaluator",
    "Predictions",
    "Progress",
    "Status",
    "Validation",
    "distance",
    "load_predictions",
    "make_evaluator",
    "not_measured",
    "save_predictions",
]
