"""TensorRT's rules for a strongly typed ONNX graph, checked without TensorRT.

Rules of two kinds, told apart by what TensorRT-RTX 1.7.1 did with graphs that break one alone.

Refused by its parser: an operator that it does not know; a zero point other than 0 (but for FP8, where it
is ignored) or of another size than the scales; UINT8 data, and DequantizeLinear of INT32; a scale that is
not positive or no float; scales that are not as many as the channels; operands of several types, or of
a wrong one; tensors of INT16, FLOAT8E5M2 and unsigned types; an output of no type. Refused by its builder
alone: a zero point that is not constant; INT8 with FP8 in one product; an INT8 or FP8 constant that
anything but DequantizeLinear reads; FP8 made by Cast.

Built without a word, and refused here because NVIDIA's documents for TensorRT 10 and 11 say otherwise
("Working with Quantized Types", the ONNX operator matrix, the opset guide) or because the file then
means two things: any opset (documented: 9 to 24 in 10.15 and 11.2, 9 to 20 in 10.0); an operator of a
foreign domain under a name that the parser knows; FLOAT64, demoted to FLOAT; a scale that is infinite,
not constant, or of another type than its data; a UINT8 zero point, QuantizeLinear without one (UINT8 in
ONNX, INT8 in TensorRT), or one of another type than the data; scales per channel on an activation, in
blocks, or along the axis that a product sums over; a quantized bias; a quantized activation whose product
has a float operand, or that anything but DequantizeLinear reads.

Not checked: that an operator has the form that its opset gives it, which is ONNX's own checker's part;
and what depends on the GPU (FP8 builds for compute capability 8.9 and later, BF16 for 8.0 and later).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx_ir as ir

from compiler.ir.edit import attribute_int, constant, op, produced_by
from compiler.lower.tensorrt.rule_facts import (
    FLOATS,
    MAKES_CONSTANTS,
    OPERATORS,
    OPSETS,
    PLAIN,
    PRODUCTS,
    QUANTIZED,
    Types,
    constant_data,
    dequantize_of,
    free_axis,
    input_at,
    is_bias,
    named,
    only_read_by,
    products_of,
    types_of,
    unlike_operands,
    wrong_operands,
)
from targets.errors import UnsupportedError

_Q: Final = "QuantizeLinear"
_DQ: Final = "DequantizeLinear"
Found = Iterator["Violation"]


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that a graph breaks.

    Attributes:
        node: the node, or the input or constant, at fault.
        rule: a short key, as "zero-point".
        problem: one line that completes "it ...".
        fix: what to do; one line.
    """

    node: str
    rule: str
    problem: str
    fix: str


def violations(model: ir.Model) -> tuple[Violation, ...]:
    """Every rule that a graph breaks: first what concerns all of it, then node by node in graph order."""
    types = types_of(model)
    found = [each for rule in _MODEL_RULES for each in rule(model, types)]
    return (*found, *(each for node in model.graph for rule in _NODE_RULES for each in rule(node, types)))


def require_valid(model: ir.Model) -> None:
    """Refuse a graph that breaks a rule.

    Raises:
        UnsupportedError: the first violation, how many more there are, and its fix as the hint.
    """
    found = violations(model)
    if found:
        first, more = found[0], len(found) - 1
        others = f" (and {more} more)" if more else ""
        raise UnsupportedError(
            f"TensorRT does not take {first.node!r}: it {first.problem}{others}", first.fix
        )


def _opset(model: ir.Model, types: Types) -> Found:
    del types
    imports = model.graph.opset_imports
    version = imports.get("", imports.get("ai.onnx"))
    if version not in OPSETS:
        limits, name = f"{OPSETS[0]} to {OPSETS[-1]}", model.graph.name or "graph"
        yield Violation(name, "opset", f"is of opset {version}, not {limits}", f"write it in opset {limits}")


def _data_types(model: ir.Model, types: Types) -> Found:
    taken = dict.fromkeys([*model.graph.inputs, *model.graph.initializers.values()], PLAIN | QUANTIZED)
    for node in model.graph:
        if op(node, "Cast", *MAKES_CONSTANTS):
            taken[node.outputs[0]] = PLAIN if node.op_type == "Cast" else PLAIN | QUANTIZED
    for value, kinds in taken.items():
        dtype, name = types.get(value), named(value.producer() or value)
        if dtype is None or dtype in kinds or only_read_by(value, _Q, _DQ):
            continue
        if dtype in QUANTIZED:
            yield Violation(name, "data-type", f"casts to {dtype.name}", "quantize with QuantizeLinear")
        else:
            fix = "make it FLOAT, FLOAT16 or BFLOAT16, or INT64 where it holds indices"
            rule = "float64" if dtype is ir.DataType.DOUBLE else "data-type"
            yield Violation(name, rule, f"is {dtype.name}, which TensorRT does not compute in", fix)
    for value in model.graph.outputs:
        if value.dtype is None:
            yield Violation(named(value), "data-type", "is an output of no declared type", "declare its type")


def _operator(node: ir.Node, types: Types) -> Found:
    del types
    fix = "write it with operators of the standard domain that TensorRT takes"
    if node.domain not in ("", "ai.onnx"):
        yield Violation(named(node), "domain", f"is {node.op_type} of the domain {node.domain!r}", fix)
    elif node.op_type not in OPERATORS:
        problem = f"is {node.op_type}, which is not among the operators that TensorRT is known to take"
        yield Violation(named(node), "operator", problem, fix)


def _one_type(node: ir.Node, types: Types) -> Found:
    unlike = unlike_operands(node, types)
    if unlike:
        listed = ", ".join(f"{value.name} {dtype.name}" for value, dtype in unlike)
        problem = f"is {node.op_type} of operands of several types: {listed}"
        yield Violation(
            named(node), "one-type", problem, "give them one type: store the constant so, or Cast"
        )


def _operand_types(node: ir.Node, types: Types) -> Found:
    for value, taken in wrong_operands(node, types):
        names = " or ".join(sorted(each.name for each in taken))
        problem = f"reads {value.name}, {types[value].name}, where {node.op_type} takes {names}"
        yield Violation(named(node), "operand-type", problem, f"insert a Cast to {names}")


def _quantized_type(node: ir.Node, types: Types) -> Found:
    if not op(node, _Q, _DQ) or _pair(node) is not None:
        return
    quantizes = op(node, _Q)
    value = node.outputs[0] if quantizes else input_at(node, 0)
    dtype = None if value is None else types.get(value)
    if dtype is None or dtype in QUANTIZED or (not quantizes and dtype is ir.DataType.INT32):
        return
    problem, fix = f"{'makes' if quantizes else 'reads'} {dtype.name}", "quantize to INT8 or FLOAT8E4M3FN"
    if quantizes and input_at(node, 2) is None and "output_dtype" not in node.attributes:
        problem = "has no zero point, by which ONNX makes UINT8 and TensorRT INT8"
        fix = "give it a zero point of 0, of INT8 or FLOAT8E4M3FN"
    yield Violation(named(node), "quantized-type", problem, fix)


def _zero_point(node: ir.Node, types: Types) -> Found:
    value, data = input_at(node, 2), input_at(node, 0)
    if not op(node, _Q, _DQ) or value is None or _repeats(node, 2):
        return
    zero, scale, problem = constant(value), constant(input_at(node, 1)), None
    if zero is None:
        problem = "has a zero point that is not constant"
    elif np.any(wrong := zero.astype(np.float32) != 0):
        problem = f"has a zero point of {zero[wrong][0]}"
    elif scale is not None and zero.size != scale.size:
        problem = f"has {zero.size} zero points for {scale.size} scales"
    elif op(node, _DQ) and data is not None and types.get(data, types.get(value)) is not types.get(value):
        problem = f"has a zero point of another type than its data, {types[data].name}"
    if problem is not None:
        fix = "quantize around zero: a constant 0 for each scale, of the type of the data"
        yield Violation(named(node), "zero-point", problem, fix)


def _scale(node: ir.Node, types: Types) -> Found:
    value = input_at(node, 1)
    if not op(node, _Q, _DQ) or value is None or _repeats(node, 1):
        return
    dtype, array = types.get(value), constant(value)
    if dtype not in FLOATS:
        problem = f"has a scale of type {dtype.name if dtype else 'unknown'}"
        yield Violation(named(node), "scale-type", problem, "store it as FLOAT, FLOAT16 or BFLOAT16")
    elif array is None:
        yield Violation(named(node), "scale", "has a scale that is not constant", "store it as a constant")
    elif not (array.size and np.all(np.isfinite(wide := array.astype(np.float32)) & (wide > 0))):
        problem = "has a scale that is not positive and finite"
        yield Violation(named(node), "scale", problem, "calibrate it again, in a type that can hold it")


def _scale_type(node: ir.Node, types: Types) -> Found:
    value = input_at(node, 1)
    scale = None if value is None or not op(node, _Q, _DQ) else types.get(value)
    if scale not in FLOATS or scale is None:
        return
    side, name = (input_at(node, 0), "input") if op(node, _Q) else (node.outputs[0], "output")
    kinds = {types.get(side), side.dtype if op(node, _DQ) else None} if side is not None else set()
    for other in sorted(each.name for each in kinds if each is not None and each is not scale):
        problem = f"has a scale of type {scale.name} and an {name} of type {other}"
        yield Violation(named(node), "scale-type", problem, f"store the scale as {other}")


def _axis(node: ir.Node, types: Types) -> Found:
    del types
    scale = constant(input_at(node, 1)) if op(node, _Q, _DQ) else None
    if scale is None or (scale.size == 1 and scale.ndim <= 1):
        return
    data, axis = constant_data(node), attribute_int(node, "axis", 1)
    if data is None:
        if not _repeats(node, 1):
            problem = f"has {scale.size} scales for an activation"
            yield Violation(named(node), "per-channel-activation", problem, "give an activation one scale")
        return
    axis += data.ndim if axis < 0 else 0
    if scale.ndim != 1 or not 0 <= axis < data.ndim or data.shape[axis] != scale.size:
        problem = f"has scales of shape {list(scale.shape)} for axis {axis} of {list(data.shape)}"
        yield Violation(named(node), "axis", problem, "give one scale to each channel, in one dimension")
        return
    for product, place, at in products_of(node.outputs[0], axis, data.ndim):
        free = free_axis(product, place, data.ndim)
        if at != free:
            problem = f"has scales along axis {axis}, not along the output channels of {named(product)}"
            fix = f"give a scale to each column, axis {free} of what the product reads"
            yield Violation(named(node), "axis", problem, fix)


def _bias(node: ir.Node, types: Types) -> Found:
    data = input_at(node, 0) if op(node, _DQ) else None
    int32 = data is not None and types.get(data) is ir.DataType.INT32
    if int32 or (data is not None and constant_data(node) is not None and is_bias(node.outputs[0])):
        problem = "dequantizes INT32, as of a bias" if int32 else "dequantizes the bias of a product"
        yield Violation(named(node), "bias", problem, "store the bias as a float of the graph's type")


def _operands(node: ir.Node, types: Types) -> Found:
    if not op(node, *PRODUCTS):
        return
    sources = {value: dequantize_of(value) for value in node.inputs[:2] if value is not None}
    found = [each for each in sources.values() if each is not None]
    bare = next((value for value, source in sources.items() if source is None), None)
    if bare is not None and any(constant_data(each) is None for each in found):
        problem = f"multiplies a quantized activation by {bare.name}, which is not quantized"
        yield Violation(named(node), "missing-qdq", problem, "quantize both of its inputs, or neither")
    kinds = {types.get(data) for each in found if (data := input_at(each, 0)) is not None}
    if kinds >= QUANTIZED:
        problem = "multiplies INT8 by FLOAT8E4M3FN"
        yield Violation(named(node), "mixed-quantization", problem, "quantize both of its inputs to one type")


def _quantized_reader(node: ir.Node, types: Types) -> Found:
    fix = "put DequantizeLinear directly behind the quantized tensor"
    for place, value in enumerate(node.inputs):
        legal = op(node, _DQ) or (op(node, _Q) and place == 2)
        if value is not None and types.get(value) in QUANTIZED and not legal:
            problem = f"is {node.op_type} and reads {value.name}, which is {types[value].name}"
            yield Violation(named(node), "quantized-reader", problem, fix)
    for out in node.outputs:
        if out.is_graph_output() and types.get(out) in QUANTIZED:
            problem = f"makes the output {out.name} of the graph, which is {types[out].name}"
            yield Violation(named(node), "quantized-reader", problem, fix)


_MODEL_RULES: Final[tuple[Callable[[ir.Model, Types], Found], ...]] = (_opset, _data_types)
_NODE_RULES: Final[tuple[Callable[[ir.Node, Types], Found], ...]] = (
    _operator,
    _one_type,
    _operand_types,
    _quantized_type,
    _zero_point,
    _scale,
    _scale_type,
    _axis,
    _bias,
    _operands,
    _quantized_reader,
)


def _pair(node: ir.Node) -> ir.Node | None:
    """The QuantizeLinear right before a DequantizeLinear."""
    return produced_by(input_at(node, 0), _Q) if op(node, _DQ) else None


def _repeats(node: ir.Node, place: int) -> bool:
    """Whether a DequantizeLinear shares a parameter with its QuantizeLinear, which answers for it."""
    quantize = _pair(node)
    return quantize is not None and input_at(quantize, place) is input_at(node, place)
