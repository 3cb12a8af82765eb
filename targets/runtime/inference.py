"""What a model said about one text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from targets.runtime.backends.base import Array
from targets.runtime.items import TextItem
from targets.runtime.tokenize import Encoding


@dataclass(frozen=True, slots=True)
class Window:
    """One run over one text.

    Attributes:
        encoding: the tokens, without padding.
        outputs: the model's outputs for this text by name. An output per token has the tokens as its first
            axis, padding removed; another one has lost its batch axis only.
    """

    encoding: Encoding
    outputs: Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class Inference:
    """All windows of one text: one, or several for a context longer than the model."""

    item: TextItem
    windows: tuple[Window, ...]


_PER_TOKEN_TASKS = frozenset({"token-classification", "fill-mask"})
_PER_TOKEN_OUTPUTS = frozenset({"start_logits", "end_logits", "last_hidden_state"})


def is_per_token(task: str, output: str) -> bool:
    """Whether the second axis of a model's output is the sequence."""
    return output in _PER_TOKEN_OUTPUTS or (output == "logits" and task in _PER_TOKEN_TASKS)
