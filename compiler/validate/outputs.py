"""From a session's stream to arrays, and numbers that are none refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from targets.errors import AccuracyGateError
from targets.runtime.items import TextItem
from targets.runtime.session import Session

Predictions: TypeAlias = dict[str, NDArray[Any]]
Progress: TypeAlias = Callable[[int, int], None]


def collect_rows(
    session: Session, items: Sequence[TextItem], output: str, progress: Progress | None
) -> NDArray[np.float32]:
    """One output of every text, float32 [texts, width], in the order of the texts.

    Raises:
        AccuracyGateError: the model gives NaN or infinity.
    """
    rows: NDArray[np.float32] | None = None
    for index, inference in session.stream(items, progress, outputs=(output,)):
        row = check_finite(inference.windows[0].outputs[output], index)
        if rows is None:
            rows = np.empty((len(items), row.shape[0]), dtype=np.float32)
        rows[index] = row
    return np.empty((0, 0), dtype=np.float32) if rows is None else rows


def check_finite(values: NDArray[Any], index: int) -> NDArray[Any]:
    """The values, if all of them are numbers.

    Raises:
        AccuracyGateError: naming the text at `index`.
    """
    if not np.isfinite(values).all():
        raise AccuracyGateError(
            f"the model's output for text {index + 1} of the evaluation data is not finite",
            "compile with another --precision; bf16 and fp32 cannot overflow",
        )
    return values
