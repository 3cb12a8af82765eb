"""Torch modules that are traced: the model with canonical inputs and outputs, and sentence pooling."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from compiler.frontend.sentence import (
    LayerNormModule,
    NormalizeModule,
    PoolingMode,
    SentenceModules,
    Stage,
)
from targets.errors import UsageError
from targets.spec import Task

OUTPUTS: Final[dict[Task, tuple[str, ...]]] = {
    "text-classification": ("logits",),
    "token-classification": ("logits",),
    "fill-mask": ("logits",),
    "question-answering": ("start_logits", "end_logits"),
    "feature-extraction": ("last_hidden_state",),
}


def output_names(task: Task, modules: SentenceModules | None) -> tuple[str, ...]:
    """The canonical outputs of a task."""
    if modules is None:
        return OUTPUTS[task]
    return ("sentence_embedding", "last_hidden_state")


class EncoderWrapper(torch.nn.Module):
    """A transformers model that takes int64 [batch, sequence] tensors and returns a tuple of tensors.

    Args:
        model: the model, in eval mode.
        task: which outputs it has.
        pooling: what turns token vectors into an embedding, for feature extraction.
        token_vectors: whether `last_hidden_state` has a row for each token; else it is the embedding,
            [batch, 1, dimension].
    """

    def __init__(
        self, model: torch.nn.Module, task: Task, pooling: SentenceHead | None, *, token_vectors: bool
    ) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling
        self.token_vectors = token_vectors
        self.outputs = OUTPUTS[task]
        accepts = "token_type_ids" in inspect.signature(model.forward).parameters
        types = int(getattr(model.config, "type_vocab_size", 0) or 0)
        self.has_token_types = accepts and types > 1
        self.zero_token_types = accepts and types == 1

    @property
    def input_names(self) -> tuple[str, ...]:
        """The canonical inputs that the model has."""
        return ("input_ids", "attention_mask", *(("token_type_ids",) if self.has_token_types else ()))

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """Runs the model; the outputs are those of `output_names`, in that order."""
        extra: dict[str, torch.Tensor] = {}
        if self.has_token_types and token_type_ids is not None:
            extra["token_type_ids"] = token_type_ids
        elif self.zero_token_types:
            extra["token_type_ids"] = torch.zeros_like(input_ids)
        result: Any = self.model(
            input_ids=input_ids, attention_mask=attention_mask, return_dict=True, **extra
        )
        if self.pooling is None:
            return tuple(getattr(result, name) for name in self.outputs)
        tokens: torch.Tensor = result.last_hidden_state
        embedding = self.pooling(tokens, attention_mask)
        return embedding, tokens if self.token_vectors else embedding.unsqueeze(1)


class SentenceHead(torch.nn.Module):
    """Pooling over the tokens that the mask keeps, then the modules that follow it.

    The formulas are sentence-transformers': `mean` divides by the number of tokens, `mean_sqrt_len` by its
    square root, `weightedmean` weighs token i by i + 1, `lasttoken` takes the last token kept.

    Args:
        pooling: modes, concatenated in this order.
        stages: what follows, with the weights already loaded.
    """

    def __init__(self, pooling: Sequence[PoolingMode], stages: Sequence[torch.nn.Module]) -> None:
        super().__init__()
        self.modes = tuple(pooling)
        self.stages = torch.nn.ModuleList(stages)

    def forward(self, tokens: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Returns [batch, dimension] from tokens [batch, sequence, hidden] and mask [batch, sequence]."""
        parts = [_pool(mode, tokens, attention_mask) for mode in self.modes]
        embedding = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        for stage in self.stages:
            embedding = stage(embedding)
        return embedding


class L2Normalize(torch.nn.Module):
    """Divides each row by its L2 norm, at least 1e-12."""

    def forward(self, embedding: torch.Tensor) -> torch.Tensor:
        """Returns rows of length one."""
        return torch.nn.functional.normalize(embedding, p=2.0, dim=-1)


def load_sentence_head(modules: SentenceModules, hidden: int) -> SentenceHead:
    """Builds the head of `modules` for an encoder of width `hidden`, in eval mode.

    Raises:
        UsageError: a module's width or weights do not fit what comes before it.
    """
    width = hidden * len(modules.pooling)
    stages = []
    for stage in modules.stages:
        built, width = _build(stage, width)
        stages.append(built)
    return SentenceHead(modules.pooling, stages).eval().requires_grad_(False)


def _build(stage: Stage, width: int) -> tuple[torch.nn.Module, int]:
    if isinstance(stage, NormalizeModule):
        return L2Normalize(), width
    if isinstance(stage, LayerNormModule):
        norm = torch.nn.LayerNorm(width)
        _load(norm, stage.file, "norm.", stage.dimension == width)
        return norm, width
    linear = torch.nn.Linear(stage.inputs, stage.outputs, bias=stage.bias)
    _load(linear, stage.file, "linear.", stage.inputs == width)
    activation: torch.nn.Module = getattr(torch.nn, stage.activation)()
    return torch.nn.Sequential(linear, activation), stage.outputs


def _load(module: torch.nn.Module, file: Path, prefix: str, fits: bool) -> None:
    from safetensors.torch import load_file

    weights = {name.removeprefix(prefix): value.float() for name, value in load_file(file).items()}
    try:
        module.load_state_dict(weights)
    except RuntimeError as error:
        fits = False
        cause: RuntimeError | None = error
    else:
        cause = None
    if not fits:
        raise UsageError(
            f"the weights of {file.parent.name} do not fit its config.json or the module before it",
            "copy or download the whole checkpoint again",
        ) from cause


def _pool(mode: PoolingMode, tokens: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
    if mode == "cls":
        return tokens[:, 0]
    mask = attention_mask.unsqueeze(-1).to(tokens.dtype)
    if mode == "max":
        return tokens.masked_fill(attention_mask.unsqueeze(-1) == 0, -1e9).amax(dim=1)
    if mode == "lasttoken":
        places = torch.arange(tokens.shape[1], device=tokens.device)
        last = (attention_mask * places).amax(dim=1)
        rows = torch.arange(tokens.shape[0], device=tokens.device)
        return tokens[rows, last]
    if mode == "weightedmean":
        places = torch.arange(1, tokens.shape[1] + 1, device=tokens.device)
        mask = mask * places.to(tokens.dtype).unsqueeze(-1)
    count = mask.sum(dim=1).clamp(min=1e-9)
    return (tokens * mask).sum(dim=1) / (count.sqrt() if mode == "mean_sqrt_len" else count)
