"""The files of a bundle's report/ folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from compiler.validate import Predictions, Validation, save_predictions
from targets.bundle.strict_json import canonical_json

METRICS: Final = "metrics.json"
REFERENCE: Final = "reference.npz"


def report_files(
    validation: Validation,
    candidates: Sequence[Mapping[str, Any]],
    seconds: Mapping[str, float],
    reference: tuple[str, Predictions] | None,
) -> dict[str, bytes]:
    """What is measured here and may differ from compile to compile.

    Args:
        validation: the accuracy gate's record.
        candidates: the median latency of each runtime that was built.
        seconds: by stage.
        reference: the evaluation data's digest and the FP32 model's predictions on it, so that
            `bertc validate` can compare again without the checkpoint.
    """
    metrics = {
        "validation": validation.to_json(),
        "candidates": [dict(each) for each in candidates],
        "seconds": {name: round(spent, 3) for name, spent in seconds.items()},
    }
    files = {METRICS: canonical_json(metrics, indent=2)}
    if reference is not None:
        files[REFERENCE] = save_predictions(*reference)
    return files
