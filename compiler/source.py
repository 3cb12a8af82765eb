"""A checkpoint on its way to a target."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import onnx_ir as ir

from compiler.build import Known
from compiler.frontend.checkpoint import Checkpoint
from compiler.heldout import HeldOut
from compiler.ir.execute import clone
from compiler.options import CompileOptions
from compiler.passes.manager import PassRecord
from compiler.prune.prune import Pruned
from compiler.pruning import Pruning, joined
from compiler.sessions import open_session
from compiler.texts import TextFeeds
from compiler.validate import Evaluator, Predictions
from targets.runtime.backends.base import Backend
from targets.runtime.session import Session
from targets.runtime.tokenize import TextEncoder


@dataclass(frozen=True, slots=True)
class Reference:
    """The FP32 model's answers to the evaluation data."""

    evaluator: Evaluator
    predictions: Predictions


@dataclass(frozen=True, slots=True)
class Source:
    """What is compiled for a target: a graph, and everything that the targets of one compile share.

    Attributes:
        checkpoint: as it was read.
        graph: the float IR after the passes, pruned or not.
        passes: what was done to it.
        encoder: the checkpoint's tokenizer.
        texts: to calibrate on.
        reference: the evaluation data, where there is some.
        held_out: texts to choose by.
        sample: the texts of an emulated validation, where a target can be emulated.
        source_bytes: of the checkpoint's weights in FP32.
        pruning: what can prune the graph; None where nothing is to be.
        pruned: what was cut from it.
        known: its quantized forms, added to as they are made.
    """

    checkpoint: Checkpoint
    graph: ir.Model
    passes: list[PassRecord]
    encoder: TextEncoder
    texts: TextFeeds | None
    reference: Reference | None
    held_out: HeldOut | None = None
    sample: Reference | None = None
    source_bytes: int = 0
    pruning: Pruning | None = None
    pruned: Pruned | None = None
    known: Known = field(default_factory=dict)

    @property
    def dense(self) -> ir.Model:
        """The float IR with nothing cut."""
        return self.graph if self.pruning is None else self.pruning.dense

    def session(self, backend: Backend) -> Session:
        """A session of the checkpoint's task over any backend."""
        return open_session(backend, self.encoder, self.checkpoint.task, self.checkpoint.task_config)

    def cut(self, pruned: Pruned, options: CompileOptions) -> Source:
        """The same with a pruned graph."""
        return replace(self._joined(pruned.model, options), pruned=pruned)

    def whole(self, options: CompileOptions) -> Source:
        """The same with nothing cut, as it is compiled where nothing is to be."""
        return self._joined(clone(self.graph), options)

    def _joined(self, model: ir.Model, options: CompileOptions) -> Source:
        passes = joined(model, options)
        if self.pruning is not None:
            self.pruning.tell(passes)
        return replace(self, graph=model, passes=[*self.passes, *passes], known={})
