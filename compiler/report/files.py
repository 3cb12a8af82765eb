"""The files of a bundle's report/ folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from compiler.validate import Predictions, Validation, save_predictions
from targets.bundle.strict_json import canonical_json

METRICS: Final = "metrics.json"
REFERENCE: Final = "reference.npz"
SAMPLE: Final = "sample-fp32.npz"
INTEGER: Final = "sample-integer.npz"


@dataclass(frozen=True, slots=True)
class Kept:
    """Predictions that are kept, so that a bundle can be compared with them again without its checkpoint.

    Attributes:
        name: of the file: `REFERENCE` for the FP32 model's on the evaluation data, `SAMPLE` and `INTEGER`
            for its and the integer reference's on the texts of an emulated validation.
        digest: of the texts (`Evaluator.digest`).
        predictions: arrays by name.
    """

    name: str
    digest: str
    predictions: Predictions


def report_files(
    validation: Validation,
    candidates: Sequence[Mapping[str, Any]],
    seconds: Mapping[str, float],
    kept: Sequence[Kept],
) -> dict[str, bytes]:
    """What is measured here and may differ from compile to compile.

    Args:
        validation: the accuracy gate's record.
        candidates: the median latency of each runtime that was built.
        seconds: by stage.
        kept: predictions for `bertc validate`.
    """
    metrics = {
        "validation": validation.to_json(),
        "candidates": [dict(each) for each in candidates],
        "seconds": {name: round(spent, 3) for name, spent in seconds.items()},
    }
    files = {METRICS: canonical_json(metrics, indent=2)}
    return files | {each.name: save_predictions(each.digest, each.predictions) for each in kept}
