"""How to prune."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compiler.options import KINDS, Kind
from compiler.prune.sequential import Scope

Selection = Literal["obs", "wanda", "magnitude"]
Allocation = Literal["error", "uniform"]


@dataclass(frozen=True, slots=True)
class PruneOptions:
    """How to prune; the last four are for comparisons, their defaults are the method.

    Attributes:
        targets: kinds of module that may be cut.
        align: neurons are left in multiples of it.
        threads: for onnxruntime and torch, 0 for every core.
        seed: of the directions that answers are differentiated in.
        select: how the groups of a module are ranked. "obs" and "wanda" solve the rows that stay anew on the
            dense stream, "magnitude" leaves them as they are.
        metric: whether errors are measured by how far they move the model's answers, and not as shares of
            the stream's variance.
        allocation: "error" takes levels of the least sum of errors, "uniform" the same share everywhere.
        refit: what is solved anew on the pruned stream.
    """

    targets: tuple[Kind, ...] = KINDS
    align: int = 64
    threads: int = 0
    seed: int = 0
    select: Selection = "obs"
    metric: bool = True
    allocation: Allocation = "error"
    refit: Scope = "all"
