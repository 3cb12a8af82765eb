"""What a compile chose by measuring, as its bundle records it: done again, it is not measured again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from targets.spec import Runtime


@dataclass(frozen=True, slots=True)
class RecordedCut:
    """What was cut to a budget of time.

    Attributes:
        modules: groups before and after, by the name of the module.
        latency: the table that the budget was counted in, and the speed-ups.
        tried: the budgets that `--prune auto` went through.
    """

    modules: Mapping[str, tuple[int, int]]
    latency: Mapping[str, Any] = field(default_factory=dict)
    tried: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class RecordedFloats:
    """What `--precision auto` left in float.

    Attributes:
        reasons: by the name of the product, those that the target's scheme has in float among them.
        search: the summary of the search.
    """

    reasons: Mapping[str, str]
    search: Mapping[str, Any]

    @property
    def found(self) -> bool:
        """Whether INT8 did not hold everywhere, so that products were searched for."""
        return bool(self.search["float"])


@dataclass(frozen=True, slots=True)
class Decisions:
    """What is not to be chosen again.

    Attributes:
        runtime: that was kept.
        cut: None where no budget of time was asked for, or `--prune auto` cut nothing.
        floats: None without `--precision auto`.
    """

    runtime: Runtime
    cut: RecordedCut | None = None
    floats: RecordedFloats | None = None
