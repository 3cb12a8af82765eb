"""Whether what a model gives is what its task reads: at opening as far as it says, and after every run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from targets.bundle.schema import TaskConfig
from targets.errors import IntegrityError
from targets.runtime.backends.base import Array
from targets.runtime.inference import is_per_token

_LABELLED: Final = ("text-classification", "token-classification")
_AGAIN: Final = "bertc writes no such bundle: do not run it"


def check_shapes(
    task: str, outputs: Mapping[str, Array], names: Sequence[str], batch: int, length: int
) -> None:
    """Refuses outputs that are no numbers, or not of the task's axes.

    Args:
        task: the task's name.
        outputs: of a run.
        names: those that are read; others may be anything.
        batch: rows of the run.
        length: its tokens.

    Raises:
        IntegrityError: naming the first such output.
    """
    for name in names:
        value: Any = outputs[name]
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise IntegrityError(f"the model's output {name!r} is no array of numbers", _AGAIN)
        if name in ("start_logits", "end_logits"):
            wanted: tuple[int | None, ...] = (batch, length)
        else:
            wanted = (batch, length, None) if is_per_token(task, name) else (batch, None)
        shape = value.shape
        if name == "last_hidden_state" and shape[1:2] == (1,):  # the embedding is its only row
            wanted = (batch, 1, None)
        fits = len(shape) == len(wanted) and all(
            found == need if need is not None else found > 0
            for found, need in zip(shape, wanted, strict=True)
        )
        if not fits:
            text = " x ".join("any" if need is None else str(need) for need in wanted)
            raise IntegrityError(
                f"the model's output {name!r} has the shape {list(shape)}, where {task} reads {text}", _AGAIN
            )


def check_labels(task: str, config: TaskConfig, widths: Mapping[str, int]) -> None:
    """Refuses a classifier that gives another number of logits than there are names for.

    Args:
        task: the task's name.
        config: the names, if there are any.
        widths: the last axis of each output that says so before it is run.

    Raises:
        IntegrityError: they are not equally many.
    """
    labels = len(config.labels)
    if task not in _LABELLED or not labels or config.problem_type == "regression":
        return
    width = widths.get("logits", labels)
    if width != labels:
        raise IntegrityError(f"the model has {width} outputs and {labels} label names", _AGAIN)
