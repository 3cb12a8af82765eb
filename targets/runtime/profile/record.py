"""What a profile holds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """One operator of the optimized model.

    Attributes:
        kind: its operator, with INT8 behind it where it computes on 8-bit integers.
        seconds: of one run, on average.
        macs: multiply-adds of a product with weights; 0 for anything else.
        widths: of that product, inputs and outputs; (0, 0) for anything else.
    """

    kind: str
    seconds: float
    macs: int = 0
    widths: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Kind:
    """All operators of one kind: how many, and milliseconds of one run."""

    kind: str
    count: int
    ms: float


@dataclass(frozen=True, slots=True)
class Roofline:
    """The products with weights against this machine; rates in multiply-adds a second.

    Attributes:
        macs: multiply-adds of one run.
        ms: milliseconds of one run that they take.
        reached: their rate.
        same_rows: of one product with as many rows, as wide as the widest of the model, by itself.
        best: the highest of a few large products.
        least_ms: what they would take at the best rate.
    """

    macs: int
    ms: float
    reached: float
    same_rows: float
    best: float
    least_ms: float


@dataclass(frozen=True, slots=True)
class ShapeProfile:
    """One shape.

    Attributes:
        batch: texts.
        length: tokens.
        wall_ms: median of a run that nothing observes.
        observed_ms: median of a run while its operators are timed.
        kinds: the most expensive first.
        roofline: None for a model without INT8 products.
    """

    batch: int
    length: int
    wall_ms: float
    observed_ms: float
    kinds: tuple[Kind, ...]
    roofline: Roofline | None

    @property
    def outside_ms(self) -> float:
        """What an observed run takes beside its operators: calling, copying, and timing them."""
        return max(0.0, self.observed_ms - sum(each.ms for each in self.kinds))

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {**asdict(self), "outside_ms": round(self.outside_ms, 4)}


def by_kind(nodes: Iterable[Node]) -> tuple[Kind, ...]:
    """The operators added up, the most expensive kind first."""
    found: dict[str, list[float]] = defaultdict(list)
    for node in nodes:
        found[node.kind].append(1e3 * node.seconds)
    kinds = [Kind(kind, len(each), round(sum(each), 4)) for kind, each in found.items()]
    return tuple(sorted(kinds, key=lambda kind: (-kind.ms, kind.kind)))
