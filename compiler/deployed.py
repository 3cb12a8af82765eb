"""A graph as it will be deployed, quantized in a moment: for times, not for answers."""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from compiler.build import LOWERINGS, open_artifact
from compiler.ir.execute import clone
from compiler.lower.artifact import Artifact
from compiler.passes.fold_constants import FoldConstants
from compiler.passes.fuse_qkv import FuseQkv
from compiler.passes.manager import PassManager
from compiler.quantize.options import PLAIN
from compiler.quantize.plan import QuantPlan
from compiler.quantize.quantizer import quantize_dynamic, quantize_static
from compiler.quantize.statistics import Batches
from targets.runtime.backends.base import Backend
from targets.spec import Precision, RuntimeProfile

_BATCHES: Final = 1


def quick_artifact(
    model: ir.Model, profile: RuntimeProfile, precision: Precision, batches: Batches
) -> Artifact:
    """The graph in the precision and runtime that ship, with ranges from a single batch.

    Its kernels are those of the careful quantization, as the placement census of both shows; its answers are
    not.

    Args:
        model: the float IR, queries, keys and values apart; it is not changed.
        profile: runtime and scheme; a CPU's.
        precision: of the products.
        batches: feeds of which the first is used.
    """
    lower = LOWERINGS[profile.name]
    if precision == "int8":
        found = quantize_static(model, batches[:_BATCHES], profile.scheme, PLAIN)
        return lower(found.model, found.plan, precision)
    copy = clone(model)
    PassManager((FuseQkv(), FoldConstants())).run(copy)
    plan = quantize_dynamic(copy, profile.scheme) if precision == "int8-dynamic" else QuantPlan()
    return lower(copy, plan, precision)


def quick_backend(
    model: ir.Model, profile: RuntimeProfile, precision: Precision, batches: Batches, *, threads: int = 0
) -> Backend:
    """`quick_artifact`, opened in its runtime."""
    return open_artifact(quick_artifact(model, profile, precision, batches), threads=threads)
