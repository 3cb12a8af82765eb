"""Logits to probabilities, and positions to label names."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from targets.errors import FailedRunError, IntegrityError
from targets.runtime.backends.base import Array


def softmax(logits: Array) -> NDArray[np.float64]:
    """The softmax over the last axis, in float64."""
    values = np.asarray(logits, dtype=np.float64)
    if not values.size:
        return values
    with np.errstate(invalid="ignore"):
        exponents = np.exp(values - values.max(axis=-1, keepdims=True))
    return finite(np.asarray(exponents / exponents.sum(axis=-1, keepdims=True), dtype=np.float64))


def sigmoid(logits: Array) -> NDArray[np.float64]:
    """The logistic function, in float64, without overflow."""
    values = finite(np.asarray(logits, dtype=np.float64))
    exponents = np.exp(-np.abs(values))
    return np.asarray(np.where(values >= 0, 1.0, exponents) / (1.0 + exponents), dtype=np.float64)


def finite(values: NDArray[Any]) -> NDArray[Any]:
    """The values, all of them numbers.

    Raises:
        FailedRunError: NaN or infinity is among them.
    """
    if not np.isfinite(values).all():
        raise FailedRunError(
            "the model gives NaN or infinity for this text", "run `bertc selftest` on the bundle"
        )
    return values


def label_names(labels: tuple[str, ...], count: int) -> tuple[str, ...]:
    """The names of a model's outputs; `LABEL_0` and so on where it names none.

    Raises:
        IntegrityError: the model has another number of outputs than of names.
    """
    if not labels:
        return tuple(f"LABEL_{index}" for index in range(count))
    if len(labels) != count:
        raise IntegrityError(
            f"the model has {count} outputs and {len(labels)} label names",
            "compile it again from its checkpoint",
        )
    return labels


def strip_span(text: str, start: int, end: int) -> tuple[int, int]:
    """The span without the white space at its ends; an empty one where there is nothing else."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
