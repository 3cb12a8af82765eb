"""The contract of a pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class Declined:
    """A place where a pass could have fired and did not.

    Attributes:
        where: the node or value looked at.
        reason: why the rewrite would have been wrong there.
    """

    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class PassResult:
    """What a pass did.

    Attributes:
        modified: whether the graph was changed at all.
        counts: how often each rewrite fired, by its name.
        declined: the places left alone, with the reason.
    """

    modified: bool
    counts: Mapping[str, int] = field(default_factory=dict)
    declined: tuple[Declined, ...] = ()


class Pass(ABC):
    """A rewrite of the graph in place that keeps what it computes.

    A pass keeps the graph's inputs and outputs (names, types, shapes), is idempotent, and reports
    `modified` only when it changed something. Options are the fields of a frozen dataclass.
    """

    @property
    def name(self) -> str:
        """The name shown to users and written into the manifest."""
        return type(self).__name__

    @abstractmethod
    def run(self, model: ir.Model) -> PassResult:
        """Rewrite `model` in place."""
