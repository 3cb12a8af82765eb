"""Traces a checkpoint to an ONNX graph held by onnx_ir."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import onnx_ir as ir
from numpy.typing import NDArray

from compiler.frontend.checkpoint import Checkpoint

Progress = Callable[[str], None]


class Reference(Protocol):
    """The FP32 model that the compiled one is compared with."""

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Runs int64 [batch, sequence] feeds and returns the canonical outputs by name."""


@dataclass(frozen=True, slots=True)
class TracedModel:
    """A traced checkpoint.

    Attributes:
        model: opset 23; inputs `input_ids`, `attention_mask` and, where the model has them,
            `token_type_ids`, int64 [batch, sequence]; the task's canonical outputs. Its initializers are
            read-only numpy arrays that share memory with the reference.
        reference: the checkpoint in torch; None for an .onnx file.
    """

    model: ir.Model
    reference: Reference | None


def trace(checkpoint: Checkpoint, *, progress: Progress | None = None) -> TracedModel:
    """Traces the checkpoint with dynamic batch and sequence.

    Args:
        checkpoint: what `load_checkpoint` returned.
        progress: called with the name of each stage when it starts.

    Raises:
        UnsupportedError: the weights lack a part that the task needs, or the .onnx graph cannot be compiled.
        UsageError: weights or graph that do not fit the configuration.
    """
    report = progress or _silent
    if checkpoint.source == "onnx":
        from compiler.frontend.onnx_file import import_onnx

        return TracedModel(import_onnx(checkpoint, report), None)
    from compiler.frontend.torch_model import load_reference
    from compiler.frontend.tracing import trace_module

    report("loading weights")
    reference = load_reference(checkpoint)
    report("tracing")
    model = trace_module(
        reference.wrapper,
        reference.wrapper.input_names,
        reference.output_names,
        positions=checkpoint.positions,
    )
    return TracedModel(model, reference)


def _silent(_: str) -> None:
    return
