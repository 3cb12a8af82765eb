"""What OpenVINO's CPU plugin really runs, read from its runtime model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from compiler.lower.artifact import Census, Placement
from compiler.lower.openvino_probe import quantized_on_each_run
from compiler.lower.traps import (
    ATTENTION_ZERO_POINT,
    FLOAT_ACTIVATIONS,
    NO_INT8_KERNEL,
    UNSIGNED_WEIGHTS,
    WIDE_GROUP,
)
from compiler.quantize.plan import QuantPlan

_PRODUCTS: Final = ("FullyConnected", "MatMul", "Subgraph")
_INT8: Final = ("i8", "u8")
_OPERANDS: Final = {"FullyConnected": 2, "MatMul": 2, "Subgraph": 3}
_PASSED_THROUGH: Final = ("Reorder", "Convert", "Transpose", "Reshape", "Split", "Eltwise", "Subgraph")
_DEPTH: Final = 8
_MISSING: Final = "no operator of the runtime model"


@dataclass(frozen=True, slots=True)
class _Kernel:
    names: frozenset[str]
    kind: str
    label: str
    int8: bool
    node: Any


def read_census(
    network: Any, plan: QuantPlan, options: Mapping[str, str], aliases: Mapping[str, Sequence[str]]
) -> Census:
    """Compile a model and read back where each product went.

    A kernel is INT8 when the tensors that really enter it are 8-bit integers and its primitive says so:
    `runtimePrecision` alone says "i8" of float kernels that store 8-bit weights, and of attention with one
    INT8 operand in three. The plugin keeps the names of what it fused into an operator, but not always the
    product's own: the products that no name leads to are given the operators that no name claimed, those in
    float first, so that one product in float is never taken for INT8. Whether activations are quantized on
    each run is seen in numbers alone, product by product (`openvino_probe`).

    Args:
        network: an OpenVINO model.
        plan: what should run in INT8.
        options: plugin options of the artifact.
        aliases: other names that a linear layer's operator may keep, by its name in the plan.
    """
    import openvino as ov

    settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", **options}
    compiled = ov.Core().compile_model(network, "CPU", settings)
    found = [_kernel(node) for node in compiled.get_runtime_model().get_ops()]
    kernels = [each for each in found if each.kind in _PRODUCTS]
    on_each_run: frozenset[str] = frozenset()
    if plan.linears and not plan.static:
        on_each_run = quantized_on_each_run(network, plan, settings)
    linears = _linears(plan, kernels, aliases, on_each_run)
    placements = (*_widths(linears, plan, options), *_attentions(plan, kernels))
    operators = Counter(each.label for each in found)
    return Census(operators, placements, str(ov.get_version()).split("-")[0])


def _linears(
    plan: QuantPlan,
    kernels: Sequence[_Kernel],
    aliases: Mapping[str, Sequence[str]],
    on_each_run: frozenset[str],
) -> list[Placement]:
    wanted = {name: each.role for name, each in plan.linears.items() if each.decision.compute == "int8"}
    named: dict[str, _Kernel] = {}
    for name in wanted:
        own = {name, *aliases.get(name, ())}
        match = next((each for each in kernels if own & each.names), None)
        if match is not None:
            named[name] = match
    claimed = {id(each) for each in named.values()}
    rest = [each for each in kernels if each.kind == "FullyConnected" and id(each) not in claimed]
    rest.sort(key=lambda each: each.int8, reverse=True)
    placements = []
    for name, role in wanted.items():
        kernel = named.get(name) or (rest.pop() if rest else None)
        placements.append(_linear(name, role, kernel, name in on_each_run))
    return placements


def _widths(placements: Sequence[Placement], plan: QuantPlan, options: Mapping[str, str]) -> list[Placement]:
    """Tell activations narrower than the group that they would be quantized in from other float ones."""
    group = int(options.get("DYNAMIC_QUANTIZATION_GROUP_SIZE", "0"))
    found = []
    for each in placements:
        weight = plan.linears[each.name].weight
        narrow = weight is not None and len(weight.values) < group
        wide = narrow and each.trap == FLOAT_ACTIVATIONS
        found.append(replace(each, trap=WIDE_GROUP) if wide else each)
    return found


def _linear(name: str, role: str, kernel: _Kernel | None, on_each_run: bool) -> Placement:
    if kernel is None:
        return Placement(name, role, _MISSING, False)
    if kernel.int8:
        return Placement(name, role, kernel.label, True)
    weights = _operand_type(kernel.node, 1)
    if on_each_run and weights in _INT8:
        return Placement(name, role, f"{kernel.kind} {weights} quantized on each run", True)
    return Placement(name, role, kernel.label, False, _linear_trap(kernel.node))


def _attentions(plan: QuantPlan, kernels: Sequence[_Kernel]) -> list[Placement]:
    placements = []
    for name, attention in plan.attentions.items():
        if attention.decision.compute != "int8":
            continue
        # Scores and context are one fused subgraph, or an operator each: the slower one is reported.
        both = [
            next((each for each in kernels if f"{name}_{part}" in each.names), None)
            for part in ("scores", "context")
        ]
        known = [each for each in both if each is not None]
        kernel = min(known, key=lambda each: each.int8, default=None)
        if kernel is None or both[1] is None:
            placements.append(Placement(name, attention.role, _MISSING, False))
            continue
        trap = None if kernel.int8 else _attention_trap(kernel.node)
        placements.append(Placement(name, attention.role, kernel.label, kernel.int8, trap))
    return placements


def _kernel(node: Any) -> _Kernel:
    originals = _text(node, "originalLayersNames").split(",")
    names = frozenset(each.split("/Dequantization")[0] for each in originals)
    kind, precision = _text(node, "layerType"), _text(node, "runtimePrecision")
    label, int8 = f"{kind} {precision}".strip(), False
    if kind in _PRODUCTS:
        int8 = _takes_int8(node, kind)
        if precision in _INT8 and not int8:
            label = f"{kind} {_float_type(node)} on {precision} {_what(kind)}"
    return _Kernel(names, kind, label or "unnamed", int8, node)


def _takes_int8(node: Any, kind: str) -> bool:
    types = [_operand_type(node, place) for place in range(len(node.inputs()))]
    if kind == "Subgraph":
        enough = sum(each in _INT8 for each in types) >= _OPERANDS[kind]
    else:
        enough = len(types) >= _OPERANDS[kind] and all(each in _INT8 for each in types[: _OPERANDS[kind]])
    return enough and _text(node, "primitiveType").lower().endswith(_INT8)


def _what(kind: str) -> str:
    return "weights" if kind == "FullyConnected" else "operands"


def _float_type(node: Any) -> str:
    primitive = _text(node, "primitiveType").rsplit("_", 1)[-1].lower()
    return primitive if primitive in ("f32", "f16", "bf16") else "f32"


def _linear_trap(node: Any) -> str | None:
    if _stored_type(node, 1) == "u8":
        return UNSIGNED_WEIGHTS
    if _operand_type(node, 1) in _INT8 and _stored_type(node, 0) not in _INT8:
        return FLOAT_ACTIVATIONS
    return NO_INT8_KERNEL


def _attention_trap(node: Any) -> str | None:
    """A zero point leaves an unsigned operand, or a subtraction behind, on the way to the products."""
    for place in range(len(node.inputs())):
        for source in _sources(node, place):
            if "Subtract" in _text(source, "originalLayersNames") or _output_type(source) == "u8":
                return ATTENTION_ZERO_POINT
    return NO_INT8_KERNEL


def _stored_type(node: Any, place: int) -> str:
    """The type that an input has where it is made, before reorders and converts."""
    return next((t for t in map(_output_type, _sources(node, place)) if t in _INT8), "float")


def _sources(node: Any, place: int) -> list[Any]:
    """What feeds an input, back through the operators that only move or rescale numbers."""
    found: list[Any] = []
    source = node.input_value(place).get_node()
    while len(found) < _DEPTH:
        found.append(source)
        if _text(source, "layerType") not in _PASSED_THROUGH or not source.inputs():
            break
        source = source.input_value(0).get_node()
    return found


def _operand_type(node: Any, place: int) -> str:
    return str(node.get_input_element_type(place).get_type_name())


def _output_type(node: Any) -> str:
    return str(node.get_output_element_type(0).get_type_name())


def _text(node: Any, key: str) -> str:
    info = node.get_rt_info()
    return str(info[key].astype(str)) if key in info else ""
