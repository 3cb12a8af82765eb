"""A client's answers beside bertc's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from tools.clients.cases import Array, Asked

TOLERANCE: Final = 1e-5
"""Largest difference of an output, wherever a client computes in the precision that the bundle asks for."""

_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "onnxruntime": ("tokenizer", "alone_onnxruntime", "optimum_onnxruntime"),
    "openvino": ("tokenizer", "alone_openvino", "optimum_openvino", "optimum_openvino defaults"),
}
_FREE: Final = frozenset({"optimum_openvino defaults"})


def clients_of(asked: Asked, installed: Sequence[str]) -> list[str]:
    """The clients that load a bundle, in the order of the tables.

    Args:
        asked: the bundle.
        installed: packages of the environment.
    """
    runtime, task = asked.manifest.runtime.backend, asked.manifest.task
    names = list(_OF[runtime])
    if task == "text-classification":
        names.append(f"pipeline_{runtime}")
    if task == "feature-extraction":
        names += [f"sentences_{runtime}", f"sentences_{runtime} batch"]
    present = runtime in installed and (runtime != "onnxruntime" or "optimum-onnx" in installed)
    return names if present else []


@dataclass(frozen=True, slots=True)
class Compared:
    """One client on one bundle.

    Attributes:
        bundle: `Asked.key`.
        client: its name.
        difference: largest of all outputs, absolute; None where a client has no numbers.
        answers: how many texts have another answer than bertc's (ids, label, token labels, span).
        error: why the client gave nothing, else "".
    """

    bundle: str
    client: str
    difference: float | None = None
    answers: int = 0
    error: str = ""

    @property
    def wrong(self) -> bool:
        """Whether that is more than a client may differ."""
        if self.error or self.client in _FREE:
            return bool(self.error)
        return self.answers > 0 or (self.difference or 0.0) > TOLERANCE

    @property
    def cell(self) -> str:
        """In a table."""
        if self.error:
            return "fails"
        other = f", {self.answers} other answer{'s' * (self.answers > 1)}" if self.answers else ""
        if self.difference is None:
            return "same ids" if not self.answers else f"{self.answers} other ids"
        return ("0" if self.difference == 0 else f"{self.difference:.1e}") + other


def compare(asked: Asked, record: Mapping[str, Any], arrays: Mapping[str, Array]) -> Compared:
    """Compares what `ask.py` brought back of one client.

    Args:
        asked: the bundle and bertc's answers.
        record: of the client.
        arrays: of all clients, by `bundle/client/text/output`.
    """
    client = str(record["client"])
    start = Compared(asked.key, client)
    if "error" in record:
        return Compared(asked.key, client, error=str(record["error"]))
    found = [_outputs(arrays, f"{asked.key}/{client}/{index}/") for index in range(len(record["answers"]))]
    if client == "tokenizer":
        ids = [each["input_ids"].tolist() for each in found]
        return Compared(asked.key, client, answers=_count(ids, list(map(list, asked.ids))))
    if client.startswith("pipeline"):
        return _compare_pipeline(asked, start, record["answers"])
    if client.endswith(" batch"):
        found = [{"sentence_embedding": row} for row in found[0]["sentence_embedding"]]
    labels = record["labels"]
    if asked.manifest.task_config.labels and labels not in (None, [*asked.manifest.task_config.labels]):
        return Compared(asked.key, client, error=f"its labels are {labels}")
    return _compare_outputs(asked, client, found)


def decisions(task: str, outputs: Mapping[str, Array], problem: str | None = None) -> list[int]:
    """What an answer follows from: places of the largest logits, or signs; nothing where it is a number."""
    if task == "feature-extraction" or problem == "regression":
        return []
    if problem == "multi_label_classification":
        return [int(each) for each in outputs["logits"] > 0]
    chosen = [np.atleast_1d(outputs[name].argmax(axis=-1)) for name in sorted(outputs)]
    return [int(each) for array in chosen for each in array]


def _compare_outputs(asked: Asked, client: str, found: Sequence[Mapping[str, Array]]) -> Compared:
    worst, others = 0.0, 0
    problem = asked.manifest.task_config.problem_type
    for own, theirs in zip(asked.outputs, found, strict=True):
        names = own.keys() & theirs.keys()
        if not names:
            return Compared(asked.key, client, error=f"it gives {', '.join(theirs)} alone")
        for name in names:
            if own[name].shape != theirs[name].shape:
                shapes = f"{list(theirs[name].shape)}, not {list(own[name].shape)}"
                return Compared(asked.key, client, error=f"its {name} has the shape {shapes}")
            difference = own[name].astype(np.float64) - theirs[name].astype(np.float64)
            worst = max(worst, float(np.abs(difference).max(initial=0.0)))
        both = [{name: each[name] for name in names} for each in (own, theirs)]
        one, two = (decisions(asked.manifest.task, each, problem) for each in both)
        others += one != two
    return Compared(asked.key, client, worst, others)


def _compare_pipeline(asked: Asked, start: Compared, answers: Sequence[Mapping[str, Any]]) -> Compared:
    labels = [str(each["label"]) for each in answers]
    apart = [
        abs(float(each["score"]) - score) for each, (_, score) in zip(answers, asked.answers, strict=True)
    ]
    other = _count(labels, [label for label, _ in asked.answers])
    return Compared(start.bundle, start.client, max(apart, default=0.0), other)


def _outputs(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def _count(found: Sequence[Any], expected: Sequence[Any]) -> int:
    return sum(one != two for one, two in zip(found, expected, strict=True))
