"""Constant folding, shape inference, and everything dead or said twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from compiler.ir.edit import sweep
from compiler.ir.printer import node_line
from compiler.passes.base import Pass, PassResult


@dataclass(frozen=True)
class FoldConstants(Pass):
    """Folds what is constant, merges equal subexpressions and removes what nothing reads.

    Attributes:
        max_elements: constants above this size are left unfolded, so that a table is not
            multiplied; transposed weights are folded whatever their size.
    """

    max_elements: int = 1 << 24

    def run(self, model: ir.Model) -> PassResult:
        """Fold, lift, merge and sweep once, in that order."""
        before, signature = _size(model), _signature(model)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        self._fold(model)
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        common.IdentityEliminationPass()(model)
        common.DeduplicateInitializersPass()(model)
        common.CommonSubexpressionEliminationPass()(model)
        common.RemoveUnusedOpsetsPass()(model)
        sweep(model.graph)
        after = _size(model)
        removed = {"nodes": before[0] - after[0], "initializers": before[1] - after[1]}
        return PassResult(signature != _signature(model), removed)

    def _fold(self, model: ir.Model) -> None:
        from onnxscript.optimizer import fold_constants_ir

        with _quiet(logging.getLogger("onnxscript.optimizer")):
            fold_constants_ir(
                model,
                onnx_shape_inference=True,
                input_size_limit=self.max_elements,
                output_size_limit=self.max_elements,
            )


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Without its notes on what is too large to fold, which this pass bounds itself."""
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _signature(model: ir.Model) -> tuple[list[str], list[str], dict[str, int]]:
    """The whole graph but for the weights' numbers, which no step here changes under the same name."""
    graph = model.graph
    return [node_line(node) for node in graph], sorted(graph.initializers), dict(model.opset_imports)


def _size(model: ir.Model) -> tuple[int, int]:
    return len(model.graph), len(model.graph.initializers)
