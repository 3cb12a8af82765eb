"""Sequence classification: one label, several labels, or a number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from targets.bundle.schema import TaskConfig
from targets.runtime.backends.base import Array
from targets.runtime.inference import Inference
from targets.runtime.tasks.scores import finite, label_names, sigmoid, softmax


@dataclass(frozen=True, slots=True)
class Classification:
    """The likeliest label, its probability, and the probability of every label (softmax)."""

    label: str
    score: float
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {"label": self.label, "score": self.score, "scores": self.scores}


@dataclass(frozen=True, slots=True)
class MultiLabel:
    """The labels at or above the threshold, likeliest first, and the probability of every label (sigmoid)."""

    labels: tuple[str, ...]
    scores: dict[str, float]

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {"labels": list(self.labels), "scores": self.scores}


@dataclass(frozen=True, slots=True)
class Regression:
    """The model's number as it is."""

    score: float

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {"score": self.score}


def problem_type(config: TaskConfig, outputs: int) -> str:
    """The problem type of a classifier; of one that names none, a single output is a regression."""
    if config.problem_type is not None:
        return config.problem_type
    return "regression" if outputs == 1 else "single_label_classification"


def decode(
    inference: Inference, config: TaskConfig, *, threshold: float = 0.5
) -> Classification | MultiLabel | Regression:
    """Decodes `logits` [labels].

    Args:
        inference: of one text or pair.
        config: labels and problem type.
        threshold: the least probability of a label in multi-label classification.
    """
    logits: Array = inference.windows[0].outputs["logits"]
    kind = problem_type(config, len(logits))
    if kind == "regression":
        return Regression(float(finite(logits)[0]))
    names = label_names(config.labels, len(logits))
    if kind == "multi_label_classification":
        chances = sigmoid(logits)
        chosen = [int(i) for i in np.argsort(-chances, kind="stable") if chances[i] >= threshold]
        return MultiLabel(tuple(names[i] for i in chosen), _by_name(names, chances))
    chances = softmax(logits)
    best = int(np.argmax(chances))
    return Classification(names[best], float(chances[best]), _by_name(names, chances))


def _by_name(names: tuple[str, ...], chances: Array) -> dict[str, float]:
    return dict(zip(names, chances.tolist(), strict=True))
