"""In which directions a model's answers matter: what an error is measured by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch

from targets.runtime.inference import is_per_token
from targets.runtime.tasks import TASK_OUTPUTS

MOST_NUMBERS: Final = 1 << 24
"""Numbers of one output that directions are drawn for at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """How one output of a model is read.

    Attributes:
        name: of the output.
        kind: "classes" are compared along the last axis, "positions" along the sequence, "numbers" are
            used as they are.
        per_token: whether the second axis is the sequence.
    """

    name: str
    kind: Literal["classes", "positions", "numbers"]
    per_token: bool


def answers_of(task: str, problem_type: str | None = None) -> tuple[Answer, ...]:
    """The outputs that a task reads.

    Args:
        task: one of `targets.spec.TASKS`.
        problem_type: of text classification.
    """
    return tuple(
        Answer(name, _kind(task, problem_type), is_per_token(task, name)) for name in TASK_OUTPUTS[task]
    )


def _kind(task: str, problem_type: str | None) -> Literal["classes", "positions", "numbers"]:
    if task == "question-answering":
        return "positions"
    if task == "feature-extraction" or problem_type in ("regression", "multi_label_classification"):
        return "numbers"
    return "classes"


def draw(
    answer: Answer, output: torch.Tensor, mask: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """A random direction for every answer: what it moves along this direction is what it moves in all.

    Of classes and positions, the margin between the best and another one, drawn by its probability among
    the rest: what can change the answer, however sure the model is of it. KL's own metric is the same but for
    a factor that vanishes for texts of which the model is sure (Kullback & Leibler's second order term, the
    Fisher information of the answers). Of numbers, any direction, by their length. A random sign keeps the
    answers of one text apart.

    Args:
        answer: how the output is read.
        output: [batch, ...], the model's.
        mask: bool [batch, sequence], set where there is a token.
        generator: of the draws.

    Returns:
        As the output; zero where there is no token, and where there is but one entry to choose from.
    """
    if answer.kind == "numbers":
        noise = torch.randn(output.shape, generator=generator)
        found = noise / output.norm(dim=-1, keepdim=True).clamp_min(1e-12) if output.shape[-1] > 1 else noise
    elif answer.kind == "positions" or not answer.per_token:
        hidden = ~mask if answer.kind == "positions" else None
        return _margins(output, hidden, generator)
    else:
        return _margins_of_tokens(output, mask, generator)
    if answer.per_token:
        found = found * mask.reshape(*mask.shape, *(1,) * (found.ndim - 2))
    return found


def _margins_of_tokens(output: torch.Tensor, mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Margins of every token, or of some where a vocabulary makes them too large, for all of them."""
    tokens = mask.reshape(-1).nonzero()[:, 0]
    most = max(1, MOST_NUMBERS // output.shape[-1])
    order = torch.randperm(len(tokens), generator=generator)[:most]
    chosen = tokens if len(tokens) <= most else tokens[order]
    rows = output.reshape(-1, output.shape[-1])
    found = torch.zeros_like(rows)
    scale = (len(tokens) / max(len(chosen), 1)) ** 0.5
    found[chosen] = scale * _margins(rows[chosen], None, generator)
    return found.reshape(output.shape)


def _margins(output: torch.Tensor, hidden: torch.Tensor | None, generator: torch.Generator) -> torch.Tensor:
    if output.shape[-1] < 2:
        return torch.randn(output.shape, generator=generator)
    scores = output if hidden is None else output.masked_fill(hidden, -torch.inf)
    best = scores.argmax(dim=-1, keepdim=True)
    rest = scores.scatter(-1, best, -torch.inf)
    others = torch.softmax(rest.double(), dim=-1).nan_to_num().flatten(0, -2)
    alone = (others.sum(dim=-1, keepdim=True) == 0).to(others.dtype)
    others = others.scatter_add(-1, best.reshape(-1, 1), alone)
    other = torch.multinomial(others, 1, generator=generator).reshape(best.shape)
    sign = 2.0 * torch.randint(0, 2, best.shape, generator=generator) - 1.0
    zero = torch.zeros_like(output)
    return zero.scatter(-1, best, sign).scatter_add(-1, other, -sign)


def moved(
    answers: Mapping[str, Answer], outputs: Mapping[str, torch.Tensor], mask: torch.Tensor, seed: int
) -> torch.Tensor:
    """One number whose gradient is the sum of the outputs' gradients along drawn directions."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(())
    for name, answer in answers.items():
        output = outputs[name]
        total = total + torch.sum(output * draw(answer, output.detach(), mask, generator))
    return total
