"""From a data set to the evaluator of a task."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from calibration import Dataset, Example, normalize_labels, normalize_tags, sample
from compiler.validate.answers import AnswerEvaluator
from compiler.validate.classification import MultiLabelEvaluator, RegressionEvaluator, SingleLabelEvaluator
from compiler.validate.embeddings import EmbeddingEvaluator
from compiler.validate.evaluator import Evaluator
from compiler.validate.masking import mask_items
from compiler.validate.masks import MaskEvaluator
from compiler.validate.tokens import TokenEvaluator, split_words
from targets.bundle.schema import TaskConfig
from targets.errors import UnsupportedError, UsageError
from targets.runtime.items import TextItem
from targets.runtime.limits import MAX_TEXTS
from targets.runtime.tasks import TASK_OUTPUTS
from targets.runtime.tasks.text_classification import problem_type
from targets.runtime.tokenize import TextEncoder


def make_evaluator(
    dataset: Dataset,
    task: str,
    task_config: TaskConfig,
    encoder: TextEncoder,
    *,
    limit: int | None = None,
    seed: int = 0,
) -> Evaluator:
    """Reads the evaluation data.

    Data without labels is fine: the artifact is then compared with the FP32 model alone. Labels that a
    task has no use for (of single texts for embeddings, of fill-mask) are not read.

    Args:
        dataset: opened for the task.
        task: one of `targets.spec.TASKS`.
        task_config: the model's labels and problem type.
        encoder: the model's tokenizer.
        limit: rows to draw; None for all.
        seed: of that draw, of the masks of fill-mask, and of the bootstrap.

    Raises:
        UsageError: a label that is none of the model's, or missing in some rows; too many rows, or none.
        UnsupportedError: an unknown task.
    """
    if task not in TASK_OUTPUTS:
        raise UnsupportedError(f"there is no task {task!r}", f"use one of: {', '.join(TASK_OUTPUTS)}")
    examples = _read(dataset, limit, seed)
    if task == "text-classification":
        return _classification(examples, task_config, dataset.label_names, seed)
    if task == "token-classification":
        return _tokens(examples, task_config, dataset.label_names, seed)
    if task == "question-answering":
        return _answers(examples, seed)
    if task == "feature-extraction":
        return _embeddings(examples, seed)
    return _masks(examples, encoder, seed)


def _read(dataset: Dataset, limit: int | None, seed: int) -> list[Example]:
    if limit is None:
        examples = list(islice(dataset, MAX_TEXTS + 1))
    elif limit < 1:
        raise UsageError(f"{limit} evaluation samples asked for", "give --eval-samples 8 or more")
    else:
        examples = sample(dataset, min(limit, MAX_TEXTS + 1), seed, minimum=1)
    if not examples:
        raise UsageError(f"{dataset.name}: there are no rows", "give a file with at least one row")
    _bound(len(examples))
    return examples


def _bound(texts: int) -> None:
    if texts > MAX_TEXTS:
        raise UsageError(
            f"more than {MAX_TEXTS} texts to evaluate", "draw some of them with --eval-samples 10000"
        )


def _classification(
    examples: Sequence[Example], config: TaskConfig, names: Sequence[str] | None, seed: int
) -> Evaluator:
    items = _items(examples)
    kind = problem_type(config, len(config.labels))
    empty = (None,) if kind == "multi_label_classification" else (None, "")
    labelled = any(example.label not in empty for example in examples)
    gold = normalize_labels(examples, config.labels, kind, label_names=names) if labelled else None
    if kind == "regression":
        return RegressionEvaluator(items, None if gold is None else gold.astype(np.float64), seed=seed)
    ids = None if gold is None else gold.astype(np.int64)
    maker = MultiLabelEvaluator if kind == "multi_label_classification" else SingleLabelEvaluator
    return maker(items, ids, len(config.labels), seed=seed)


def _tokens(
    examples: Sequence[Example], config: TaskConfig, names: Sequence[str] | None, seed: int
) -> Evaluator:
    texts, words = zip(*map(split_words, examples), strict=True)
    labelled = any(example.tags is not None for example in examples)
    gold = normalize_tags(examples, config.labels, label_names=names) if labelled else None
    return TokenEvaluator(texts, words, gold, config.labels, seed=seed)


def _answers(examples: Sequence[Example], seed: int) -> Evaluator:
    pairs = []
    for number, example in enumerate(examples, start=1):
        if example.text_pair is None:
            raise UsageError(
                f"row {example.row or number}: no context", "give one in every row, or set --text-pair-column"
            )
        pairs.append((example.text, example.text_pair))
    if all(example.answers is None for example in examples):
        return AnswerEvaluator(pairs, None, seed=seed)
    for number, example in enumerate(examples, start=1):
        if example.answers is None:
            raise UsageError(
                f"row {example.row or number}: no answers",
                "give them in every row, an empty list where the context has none, or in no row at all",
            )
    return AnswerEvaluator(pairs, [example.answers or () for example in examples], seed=seed)


def _embeddings(examples: Sequence[Example], seed: int) -> Evaluator:
    texts = [text for example in examples for text in (example.text, example.text_pair) if text is not None]
    _bound(len(texts))
    return EmbeddingEvaluator(texts, _scores(examples), rows=len(examples), seed=seed)


def _scores(examples: Sequence[Example]) -> NDArray[np.float64] | None:
    """The pairs' scores; None where there are single texts, or where the labels are names and no scores."""
    if any(example.text_pair is None for example in examples) or not any(map(_is_scored, examples)):
        return None
    return normalize_labels(examples, (), "regression").astype(np.float64)


def _is_scored(example: Example) -> bool:
    try:
        return isinstance(example.label, int | float | str) and np.isfinite(float(example.label))
    except ValueError:
        return False


def _masks(examples: Sequence[Example], encoder: TextEncoder, seed: int) -> Evaluator:
    found = mask_items(_items(examples), encoder, seed=seed)
    masked = [one for one in found if one is not None]
    if not masked:
        raise UsageError("no text has a token that can be masked", "give texts of a few words each")
    if len(masked) < len(found):
        warnings.warn(
            f"{len(found) - len(masked)} of {len(found)} texts have no token that can be masked; "
            "they are not evaluated",
            UserWarning,
            stacklevel=3,
        )
    return MaskEvaluator(masked, seed=seed)


def _items(examples: Sequence[Example]) -> list[TextItem]:
    return [
        example.text if example.text_pair is None else (example.text, example.text_pair)
        for example in examples
    ]
