"""What each task makes of a model's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from targets.bundle.schema import TaskConfig
from targets.errors import UnsupportedError, UsageError
from targets.runtime.inference import Inference
from targets.runtime.limits import MAX_TOP_K
from targets.runtime.tasks import (
    feature_extraction,
    fill_mask,
    question_answering,
    text_classification,
    token_classification,
)
from targets.runtime.tasks.feature_extraction import Embedding
from targets.runtime.tasks.fill_mask import Candidate, FillMask
from targets.runtime.tasks.question_answering import Answer
from targets.runtime.tasks.text_classification import Classification, MultiLabel, Regression
from targets.runtime.tasks.token_classification import Entity, TokenClassification, TokenLabels, token_labels
from targets.runtime.tokenize import TextEncoder

__all__ = [
    "TASK_OUTPUTS",
    "Answer",
    "Candidate",
    "Classification",
    "Embedding",
    "Entity",
    "FillMask",
    "MultiLabel",
    "Prediction",
    "Regression",
    "TokenClassification",
    "TokenLabels",
    "check_outputs",
    "make_decoder",
    "token_labels",
]

Prediction: TypeAlias = (
    Classification | MultiLabel | Regression | TokenClassification | Answer | Embedding | FillMask
)
Decoder: TypeAlias = Callable[[Inference], Prediction]

TASK_OUTPUTS: Mapping[str, tuple[str, ...]] = {
    "text-classification": ("logits",),
    "token-classification": ("logits",),
    "question-answering": ("start_logits", "end_logits"),
    "feature-extraction": ("sentence_embedding",),
    "fill-mask": ("logits",),
}


def check_outputs(task: str, names: Sequence[str]) -> None:
    """Refuses a model without the outputs that a task reads.

    Args:
        task: the task's name.
        names: the model's outputs.

    Raises:
        UnsupportedError: an unknown task, or a missing output.
    """
    if task not in TASK_OUTPUTS:
        raise UnsupportedError(f"there is no task {task!r}", f"use one of: {', '.join(TASK_OUTPUTS)}")
    for name in TASK_OUTPUTS[task]:
        if name not in names:
            raise UnsupportedError(
                f"the model has no output {name!r}, which {task} reads", f"it has: {', '.join(names)}"
            )


def make_decoder(
    task: str, config: TaskConfig, encoder: TextEncoder, *, top_k: int = 5, threshold: float = 0.5
) -> Decoder:
    """The function that turns an inference of a task into its prediction.

    Args:
        task: a key of `TASK_OUTPUTS`.
        config: labels and problem type.
        encoder: the tokenizer, which names fill-mask's candidates.
        top_k: candidates of fill-mask.
        threshold: the least score of a label in multi-label classification.

    Raises:
        UsageError: `top_k` outside [1, `MAX_TOP_K`], a threshold outside [0, 1], or fill-mask without a mask
            token.
    """
    if not 1 <= top_k <= MAX_TOP_K:
        raise UsageError(f"top_k is {top_k}", f"give 1 to {MAX_TOP_K}")
    if not 0 <= threshold <= 1:
        raise UsageError(f"the threshold is {threshold}", "give a number from 0 to 1")
    if task == "text-classification":
        return partial(text_classification.decode, config=config, threshold=threshold)
    if task == "token-classification":
        return partial(token_classification.decode, config=config)
    if task == "question-answering":
        return question_answering.decode
    if task == "feature-extraction":
        return feature_extraction.decode
    return partial(fill_mask.decode, encoder=encoder, top_k=top_k)
