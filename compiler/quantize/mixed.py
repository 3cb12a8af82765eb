"""Mixed precision: the fewest and cheapest products in float so that the accuracy holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, Final

from compiler.quantize.plan import AttentionPlan, Decision, LinearPlan, QuantPlan
from compiler.quantize.sensitivity import Group
from compiler.validate import Validation
from compiler.validate.record import DIGITS
from targets.errors import AccuracyGateError

PUT_BACK: Final = 8
"""How many products are tried in INT8 again once a prefix of the ranking holds."""
_TOLERANCE: Final = 1e-9
_NO_CHANGE: Final = 3.0


def with_float(plan: QuantPlan, names: Collection[str], reason: str) -> QuantPlan:
    """The plan with some products in float, as the graph has them.

    Args:
        plan: it is not changed.
        names: of linear layers and attentions.
        reason: for the record.

    Raises:
        KeyError: a name that is no product of the plan.
    """
    unknown = set(names) - set(plan.linears) - set(plan.attentions)
    if unknown:
        raise KeyError(f"no product of the plan: {', '.join(sorted(unknown))}")
    decision = Decision("float", reason)
    linears = {
        name: LinearPlan(each.role, decision) if name in names else each
        for name, each in plan.linears.items()
    }
    attentions = {
        name: AttentionPlan(each.role, decision) if name in names else each
        for name, each in plan.attentions.items()
    }
    return replace(plan, linears=linears, attentions=attentions)


@dataclass(frozen=True, slots=True)
class Gate:
    """What must hold on the held-out slice.

    Attributes:
        max_drop: largest loss of the primary metric, absolute.
        min_agreement: least agreement with the FP32 model; None for any.
    """

    max_drop: float
    min_agreement: float | None = None

    def holds(self, validation: Validation | None) -> bool:
        """Whether a measurement passes; None, for outputs that are not finite, does not."""
        if validation is None or validation.delta is None or validation.agreement is None:
            return False
        least = 0.0 if self.min_agreement is None else self.min_agreement
        kept = validation.delta >= -self.max_drop - _TOLERANCE
        return kept and (self.min_agreement is None or validation.agreement >= least - _TOLERANCE)

    def judged(self, validation: Validation) -> Validation:
        """The final measurement, which also fails where it agrees too little with the FP32 model."""
        least, found = self.min_agreement, validation.agreement
        if validation.status != "passed" or least is None or found is None or self.holds(validation):
            return validation
        reason = f"the agreement of {found:.4f} is below --min-agreement {least:g}"
        return replace(validation, status="failed", reason=reason)

    def to_json(self) -> dict[str, float | None]:
        """For the manifest."""
        return {"max_drop": self.max_drop, "min_agreement": self.min_agreement}


@dataclass(frozen=True, slots=True)
class Ranked:
    """A group with what INT8 costs and saves there.

    Attributes:
        group: the products.
        error: mean squared error of the model's outputs when only this group is INT8.
        saved_ms: milliseconds that INT8 saves there.
    """

    group: Group
    error: float
    saved_ms: float

    @property
    def worth(self) -> float:
        """Error that float removes for each millisecond that it costs."""
        return self.error / self.saved_ms


@dataclass(frozen=True, slots=True)
class Tried:
    """A variant that was run on the slice: the groups in float, what was measured, whether the gate holds.

    `validation` is None for outputs that are not finite.
    """

    floats: tuple[Ranked, ...]
    validation: Validation | None
    holds: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """What the search found.

    Attributes:
        floats: the groups left in float, in the ranking's order.
        ranking: all groups, the first to leave INT8 first; empty where INT8 held everywhere.
        validation: on the held-out slice, of what was chosen.
        trials: how many variants were run on the slice.
        tried: these variants, in the order run.
    """

    floats: tuple[Ranked, ...]
    ranking: tuple[Ranked, ...]
    validation: Validation
    trials: int = 1
    tried: tuple[Tried, ...] = ()

    def to_json(self) -> list[dict[str, Any]]:
        """The ranking for the debug record."""
        kept = {each.group.role for each in self.floats}
        return [
            {
                "role": each.group.role,
                "kind": each.group.kind,
                "error_alone": each.error if isfinite(each.error) else None,
                "saved_ms": each.saved_ms,
                "kept_in": "float" if each.group.role in kept else "int8",
            }
            for each in self.ranking
        ]


Judge = Callable[[tuple[Ranked, ...]], Validation | None]


def rank(
    groups: Sequence[Group], errors: Mapping[str, float], saved: Mapping[str, float]
) -> tuple[Ranked, ...]:
    """The groups by the error that float removes per millisecond, the most first.

    Args:
        groups: of the plan.
        errors: by role.
        saved: milliseconds by kind, all above 0.
    """
    found = [Ranked(each, errors[each.role], saved[each.kind]) for each in groups]
    return tuple(sorted(found, key=lambda each: (-each.worth, each.group.role)))


def search(ranking: Sequence[Ranked], judge: Judge, gate: Gate, *, put_back: int = PUT_BACK) -> Choice:
    """Leave the shortest prefix of a ranking in float that passes the gate, then put back what it can spare.

    The prefix is found by bisection, which takes the metric to grow with it; whatever the metric does, the
    variant that is returned was run and did pass. Then the products of the prefix are tried in INT8 again,
    those that make the least error first.

    Args:
        ranking: from `rank`; the search does not ask whether all of it in INT8 would pass.
        judge: runs the variant with some groups in float on the held-out slice.
        gate: what must hold.
        put_back: how many products are tried again.

    Raises:
        AccuracyGateError: not even all of them in float pass.
    """
    order = tuple(ranking)
    tried: list[Tried] = []

    def passing(floats: tuple[Ranked, ...]) -> Validation | None:
        found = judge(floats)
        tried.append(Tried(floats, found, gate.holds(found)))
        return found if tried[-1].holds else None

    best = passing(order)
    if best is None:
        raise AccuracyGateError(
            "the gate does not hold on the held-out slice even with every product in float",
            "give a larger --max-drop or a smaller --min-agreement; embedding tables are INT8 in any case",
        )
    fails, holds = 0, len(order)
    while holds - fails > 1:
        middle = (fails + holds) // 2
        found = passing(order[:middle])
        if found is None:
            fails = middle
        else:
            holds, best = middle, found
    floats = order[:holds]
    spare = sorted(floats[:-1], key=lambda each: (each.error, each.group.role))
    for each in spare[:put_back]:
        fewer = tuple(other for other in floats if other is not each)
        found = passing(fewer)
        if found is not None:
            floats, best = fewer, found
    return Choice(floats, order, best, len(tried) + 1, tuple(tried))


def apply(
    plan: QuantPlan, choice: Choice, gate: Gate, *, total: float, outputs: str, shape: str
) -> QuantPlan:
    """Write a choice into the plan: each product in float with its reason, and what was measured.

    Args:
        plan: all INT8.
        choice: from `search`.
        gate: what held.
        total: mean squared error of the outputs of the whole INT8 model.
        outputs: the names of these outputs.
        shape: batch x tokens of the saved time.
    """
    for each in choice.floats:
        plan = with_float(plan, each.group.names, reason_of(each, total=total, outputs=outputs, shape=shape))
    return replace(plan, scheme={**plan.scheme, "search": summary(choice, gate)})


def reason_of(ranked: Ranked, *, total: float, outputs: str, shape: str) -> str:
    """Why a group stays in float, with its numbers."""
    return (
        f"alone it makes {ranked.error:.3g} squared error of {outputs}, all INT8 {total:.3g}; "
        f"INT8 would save {ranked.saved_ms:.2g} ms at {shape}"
    )


def summary(choice: Choice, gate: Gate) -> dict[str, Any]:
    """What the search measured and decided, for the manifest."""
    found = choice.validation
    return {
        "float": [each.group.role for each in choice.floats],
        "trials": choice.trials,
        "texts": found.n,
        "metric": found.metric,
        "labelled": found.labelled,
        "delta": _rounded(found.delta),
        "ci95": None if found.ci95 is None else [_rounded(end) for end in found.ci95],
        "uncertainty": _rounded(uncertainty(found)),
        "agreement": _rounded(found.agreement),
        "gate": gate.to_json(),
    }


def uncertainty(validation: Validation) -> float | None:
    """How well the change of the metric is known: half the 95% interval.

    Where no text of n changed, the interval has no width and says nothing; the rate of changes is then
    below 3/n at 95% (Hanley and Lippman-Hand 1983, "If nothing goes wrong, is everything all right?").
    """
    if validation.ci95 is None or validation.n == 0:
        return None
    low, high = validation.ci95
    return (high - low) / 2.0 if high > low else min(1.0, _NO_CHANGE / validation.n)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, DIGITS) + 0.0
