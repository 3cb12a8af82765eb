"""What each group of products costs alone: the error of the outputs when only that group runs in INT8."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import attribute_int, static_dim
from compiler.ir.linear import linears_of
from compiler.quantize.plan import QuantPlan
from targets.runtime.inference import is_per_token

Feeds = Mapping[str, NDArray[Any]]
Outputs = Mapping[str, NDArray[Any]]
Run = Callable[[Feeds], Outputs]
Advance = Callable[[int], None]

ATTENTION: Final = "attention"
_PROJECTION: Final = re.compile(r"(query|key|value)(\+(query|key|value))*")


@dataclass(frozen=True, slots=True)
class Group:
    """The products of one site of one layer, which go to INT8 or to float together.

    Attributes:
        role: `layerN.site`, or the place of a product outside the layers; no two groups share it.
        kind: site and shape; groups of one kind cost the same time.
        names: of the products, as the plan has them.
    """

    role: str
    kind: str
    names: tuple[str, ...]


def groups_of(model: ir.Model, plan: QuantPlan) -> tuple[Group, ...]:
    """The groups of a plan's INT8 products, in the plan's order.

    Query, key and value of a layer are one group, whether or not they are one product: they share their
    input. Products outside the layers are groups of their own.

    Args:
        model: the graph that the plan belongs to.
        plan: from the quantizer.
    """
    kinds = {each.name: _product_shape(each.input, each.weight) for each in linears_of(model.graph)}
    kinds |= {str(node.name): _attention_shape(node) for node in model.graph if node.op_type == "Attention"}
    decided = [(name, each.role, each.decision.compute) for name, each in plan.linears.items()]
    decided += [(name, each.role, each.decision.compute) for name, each in plan.attentions.items()]
    members: dict[str, list[str]] = {}
    alone: dict[str, int] = {}
    for name, role, compute in decided:
        if compute != "int8":
            continue
        place = _place(role)
        if "." not in place:
            alone[place] = alone.get(place, 0) + 1
            place = f"{place}.{alone[place]}"
        members.setdefault(place, []).append(name)
    return tuple(
        Group(place, f"{_site(place)} {' + '.join(kinds[name] for name in names)}", tuple(names))
        for place, names in members.items()
    )


def squared_error(
    task: str, exact: Sequence[Outputs], found: Sequence[Outputs], masks: Sequence[NDArray[np.bool_]]
) -> float:
    """The mean squared difference of outputs, PAD positions left out.

    Args:
        task: one of `targets.spec.TASKS`; says which outputs have a row for every token.
        exact: the FP32 model's outputs of each batch.
        found: the same outputs of the other model.
        masks: [batch, sequence] of each batch, set where there is a token.

    Returns:
        The mean over all numbers, infinity where an output is not finite.
    """
    total, count = 0.0, 0
    for expected, actual, mask in zip(exact, found, masks, strict=True):
        for name, values in expected.items():
            gap = np.asarray(actual[name], np.float64) - values
            if is_per_token(task, name) and gap.shape[1] == mask.shape[1]:
                gap = gap[mask]
            total += float(np.sum(gap * gap))
            count += gap.size
    error = total / max(count, 1)
    return error if np.isfinite(error) else float("inf")


@dataclass(frozen=True, slots=True)
class Probe:
    """A few texts, and what the FP32 model makes of them.

    Attributes:
        task: one of `targets.spec.TASKS`.
        feeds: int64 arrays [batch, sequence] by input name.
        exact: the task's outputs of each batch.
    """

    task: str
    feeds: tuple[Feeds, ...]
    exact: tuple[Outputs, ...]

    @staticmethod
    def of(task: str, feeds: Sequence[Feeds], outputs: Sequence[str], run: Run) -> Probe:
        """Runs the FP32 model and keeps the named outputs."""
        exact = tuple({name: found[name] for name in outputs} for found in map(run, feeds))
        return Probe(task, tuple(feeds), exact)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs."""
        return tuple(self.exact[0]) if self.exact else ()

    def error(self, run: Run) -> float:
        """The mean squared error of another model's outputs."""
        found = [run(each) for each in self.feeds]
        masks = [np.asarray(each["attention_mask"]).astype(bool) for each in self.feeds]
        return squared_error(self.task, self.exact, found, masks)


def measure(
    plan: QuantPlan,
    groups: Sequence[Group],
    error: Callable[[QuantPlan, Group], float],
    *,
    known: dict[str, float],
    advance: Advance | None = None,
) -> dict[str, float]:
    """The error that each group makes alone.

    Args:
        plan: of all groups.
        groups: to measure.
        error: lowers and runs a plan in which only one group is INT8.
        known: errors by role that need no measuring; those measured are added.
        advance: called with 1 after every group.

    Returns:
        By role.
    """
    for group in groups:
        if group.role not in known:
            known[group.role] = error(only(plan, group), group)
        if advance is not None:
            advance(1)
    return {group.role: known[group.role] for group in groups}


def only(plan: QuantPlan, group: Group) -> QuantPlan:
    """The plan with one group in INT8, and everything else as in the checkpoint, tables included."""
    return QuantPlan(
        {name: each for name, each in plan.linears.items() if name in group.names},
        {name: each for name, each in plan.attentions.items() if name in group.names},
        {},
        plan.scheme,
    )


def _place(role: str) -> str:
    layer, dot, site = role.partition(".")
    return f"{layer}.qkv" if dot and _PROJECTION.fullmatch(site) else role


def _site(place: str) -> str:
    layer, _, site = place.partition(".")
    return layer if site.isdigit() else site


def _product_shape(source: ir.Value, weight: ir.Value) -> str:
    """Inputs x outputs of a product, and whether it is computed for one row of each text only."""
    sizes = "x".join(str(static_dim(weight, axis)) for axis in (0, 1))
    rank = 0 if source.shape is None else len(source.shape)
    one_row = rank == 2 or (rank == 3 and static_dim(source, 1) == 1)
    return f"{sizes}, one row" if one_row else sizes


def _attention_shape(node: ir.Node) -> str:
    query = node.inputs[0]
    one_row = query is not None and static_dim(query, 1) == 1
    sizes = f"{attribute_int(node, 'q_num_heads', 1)} heads of {static_dim(query, -1)}"
    return f"{sizes}, one row" if one_row else sizes
