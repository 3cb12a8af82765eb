"""Evaluators over rows given in a test, and what models that are lookup tables predict for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibration import open_dataset
from compiler.validate import Evaluator, Predictions, Progress, make_evaluator
from targets.bundle.schema import TaskConfig
from targets.runtime.tokenize import TextEncoder
from tests.support.data import write_rows
from tests.support.tiny_runtime import encoder, session


def evaluator_of(
    folder: Path,
    task: str,
    rows: Sequence[Mapping[str, Any]],
    labels: tuple[str, ...] = (),
    *,
    problem_type: Any = None,
    text_encoder: TextEncoder | None = None,
    **options: Any,
) -> Evaluator:
    dataset = open_dataset(write_rows(folder / "rows.jsonl", rows), task)
    config = TaskConfig(problem_type, labels)
    return make_evaluator(dataset, task, config, text_encoder or encoder(), **options)


def predicted(
    evaluator: Evaluator,
    values: NDArray[np.float32],
    labels: tuple[str, ...] = (),
    *,
    runtime: str = "onnxruntime",
    problem_type: Any = None,
    max_length: int = 64,
    progress: Progress | None = None,
) -> Predictions:
    opened = session(
        runtime,
        evaluator.task,
        values,
        labels,
        problem_type=problem_type,
        max_length=max_length,
        type_ids=False,
    )
    with opened:
        return evaluator.predict(opened, progress)
