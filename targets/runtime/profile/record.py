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
        seconds: of a typical run, see `targets.runtime.profile.timing.typical`.
        macs: multiply-adds of an INT8 product with weights; 0 for anything else.
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
    """The INT8 products with weights against this machine; rates in multiply-adds a second.

    Attributes:
        macs: multiply-adds of one run.
        ms: milliseconds of one run that they take.
        reached: their rate.
        same_rows: of one product with as many rows, as wide as the widest of the model, by itself.
        best: the highest rate of any one product in the same profile, large ones among them.
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
        wall_ms: a typical run that nothing observes.
        observed_ms: a typical run while its operators are timed; on OpenVINO of a model compiled for just
            this shape. The shares are of this.
        kinds: the most expensive first.
        roofline: None for a model without INT8 products, or a runtime without a kernel for them.
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

    def share(self, ms: float) -> float:
        """So many milliseconds as a fraction of an observed run."""
        return ms / self.observed_ms if self.observed_ms > 0 else 0.0

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {
            **asdict(self),
            "kinds": [{**asdict(each), "share": round(self.share(each.ms), 4)} for each in self.kinds],
            "outside_ms": round(self.outside_ms, 4),
            "outside_share": round(self.share(self.outside_ms), 4),
        }


def by_kind(nodes: Iterable[Node]) -> tuple[Kind, ...]:
    """The operators added up, the most expensive kind first."""
    found: dict[str, list[float]] = defaultdict(list)
    for node in nodes:
        found[node.kind].append(1e3 * node.seconds)
    kinds = [Kind(kind, len(each), round(sum(each), 4)) for kind, each in found.items()]
    return tuple(sorted(kinds, key=lambda kind: (-kind.ms, kind.kind)))
