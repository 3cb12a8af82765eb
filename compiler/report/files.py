"""The files of a bundle's report/ folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from compiler.report.facts import Facts
from compiler.report.page import render
from compiler.validate import Predictions, save_predictions
from targets.bundle.strict_json import canonical_json

METRICS: Final = "metrics.json"
PAGE: Final = "report.html"
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


def report_files(facts: Facts, kept: Sequence[Kept], *, page: bool) -> dict[str, bytes]:
    """What is measured here and may differ from compile to compile.

    Args:
        facts: of the bundle.
        kept: predictions for `bertc validate`.
        page: whether to write report.html too.
    """
    files = {METRICS: canonical_json(facts.to_json(), indent=2)}
    if page:
        files[PAGE] = render(facts)
    return files | {each.name: save_predictions(each.digest, each.predictions) for each in kept}
