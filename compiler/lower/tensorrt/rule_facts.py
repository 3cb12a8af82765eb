"""What TensorRT sees of an ONNX graph: operators, the types of values, and where quantized tensors go.

TensorRT's parser reads the types of a graph's inputs and constants, and works out the rest; it ignores
what the file declares of a value in between, and of an output (seen with TensorRT-RTX 1.7.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import attribute_int, attribute_ints, constant, op, produced_by

Types = Mapping[ir.Value, ir.DataType]
Operands = list[tuple[ir.Value, ir.DataType]]

OPSETS: Final = range(9, 25)
OPERATORS: Final = frozenset(
    {
        "Abs", "Add", "And", "ArgMax", "ArgMin", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape",
        "CumSum",
        "DequantizeLinear", "Div", "Einsum", "Equal", "Erf", "Exp", "Expand", "Flatten", "Gather",
        "GatherElements", "GatherND", "Gelu", "Gemm", "Greater", "GreaterOrEqual", "Identity",
        "LayerNormalization", "Less", "LessOrEqual", "Log", "LogSoftmax", "MatMul", "Max", "Mean", "Min",
        "Mul", "Neg", "Not", "Or", "Pow", "QuantizeLinear", "Range", "Reciprocal", "ReduceL2", "ReduceMax",
        "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum", "Relu", "Reshape", "Shape", "Sigmoid", "Size",
        "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Transpose",
        "Unsqueeze", "Where", "Xor",
    }
)  # fmt: skip

_D = ir.DataType
FLOATS: Final = frozenset({_D.FLOAT, _D.FLOAT16, _D.BFLOAT16})
QUANTIZED: Final = frozenset({_D.INT8, _D.FLOAT8E4M3FN})
_INDICES: Final = frozenset({_D.INT32, _D.INT64})
_BOOL: Final = frozenset({_D.BOOL})
PLAIN: Final = FLOATS | _INDICES | _BOOL

MAKES_CONSTANTS: Final = ("Constant", "ConstantOfShape")
PRODUCTS: Final = ("MatMul", "Gemm")
_MOVES: Final = (
    "Transpose", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Slice", "Split", "Expand"
)  # fmt: skip
_COMPARISONS: Final = frozenset({"Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"})
_LOGIC: Final = frozenset({"And", "Or", "Xor", "Not"})
_ALIKE: Final = _COMPARISONS | {
    "Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Concat", "Where", "MatMul", "Gemm",
    "LayerNormalization",
}  # fmt: skip
_IN_FLOAT: Final = (
    "MatMul", "Gemm", "Softmax", "LogSoftmax", "LayerNormalization", "Gelu", "Erf", "Tanh", "Sigmoid",
    "Sqrt", "Exp", "Log", "Reciprocal",
)  # fmt: skip
_OPERANDS: Final[Mapping[str, Mapping[int, frozenset[ir.DataType]]]] = {
    **{name: dict.fromkeys(range(2), _BOOL) for name in _LOGIC},
    **{name: {0: FLOATS} for name in _IN_FLOAT},
    "Where": {0: _BOOL},
    "Gather": {1: _INDICES},
}


def types_of(model: ir.Model) -> Types:
    """The type of each value: of inputs and constants as stored, of the rest as TensorRT derives it.

    The declared type counts only where the operator and its operands do not determine one. A value of
    no known type is absent.
    """
    types: dict[ir.Value, ir.DataType] = {}
    for value in [*model.graph.inputs, *model.graph.initializers.values()]:
        stored = value.dtype if value.const_value is None else value.const_value.dtype
        if stored is not None:
            types[value] = stored
    for node in model.graph:
        for out in node.outputs:
            derived = _derive(node, out, types) or out.dtype
            if derived is not None:
                types[out] = derived
    return types


def unlike_operands(node: ir.Node, types: Types) -> Operands:
    """The operands that must be of one type, when they are of several; quantized ones aside."""
    if not op(node, *_ALIKE):
        return []
    operands = node.inputs[1:] if node.op_type == "Where" else node.inputs
    typed = [(each, _demoted(types.get(each))) for each in operands if each is not None]
    known = [(each, dtype) for each, dtype in typed if dtype is not None and dtype not in QUANTIZED]
    return known if len({dtype for _, dtype in known}) > 1 else []


def wrong_operands(node: ir.Node, types: Types) -> Iterator[tuple[ir.Value, frozenset[ir.DataType]]]:
    """The operands of a type that the operator does not take, each with the types that it takes."""
    for place, taken in _OPERANDS.get(node.op_type, {}).items() if op(node, node.op_type) else ():
        value = input_at(node, place)
        dtype = None if value is None else _demoted(types.get(value))
        if value is not None and dtype in PLAIN and dtype not in taken:
            yield value, taken


def named(part: ir.Node | ir.Value) -> str:
    """What a message calls a node or a value."""
    return part.name or (f"{part.op_type} without a name" if isinstance(part, ir.Node) else "a value")


def input_at(node: ir.Node, place: int) -> ir.Value | None:
    """An operand, None where the node has none there."""
    return node.inputs[place] if len(node.inputs) > place else None


def only_read_by(value: ir.Value, *names: str) -> bool:
    """Whether all that reads a value, of which there is something, is one of these operators."""
    uses = value.uses()
    return bool(uses) and not value.is_graph_output() and all(op(each.node, *names) for each in uses)


def constant_data(node: ir.Node) -> NDArray[Any] | None:
    """The constant that a QuantizeLinear or DequantizeLinear reads, directly or as a pair, or None."""
    quantize = produced_by(input_at(node, 0), "QuantizeLinear")
    return constant(input_at(node if quantize is None else quantize, 0))


def dequantize_of(value: ir.Value | None) -> ir.Node | None:
    """The DequantizeLinear that a value comes from, through operators that only move elements."""
    while (moved := produced_by(value, *_MOVES)) is not None:
        value = input_at(moved, 0)
    return produced_by(value, "DequantizeLinear")


def products_of(value: ir.Value, axis: int | None, rank: int) -> Iterator[tuple[ir.Node, int, int | None]]:
    """The products that read a value, at which operand, and where one of its axes is by then.

    The axis is None where an operator other than Transpose moved the elements.
    """
    for node, place in value.uses():
        if op(node, *PRODUCTS) and place < 2:
            yield node, place, axis
        elif op(node, *_MOVES) and place == 0:
            order = attribute_ints(node, "perm") or tuple(reversed(range(rank)))
            moved = order.index(axis) if op(node, "Transpose") and axis in order else None
            for out in node.outputs:
                yield from products_of(out, axis if op(node, "Identity") else moved, rank)


def free_axis(product: ir.Node, place: int, rank: int) -> int:
    """The axis of an operand that a product does not sum over."""
    flipped = attribute_int(product, ("transA", "transB")[place], 0) != 0
    return max(rank - 2, 0) if flipped != (place == 0) else rank - 1


def is_bias(value: ir.Value) -> bool:
    """Whether a value is added to a product, as the third operand of Gemm or by Add."""
    for node, place in value.uses():
        if op(node, "Gemm") and place == 2:
            return True
        if op(node, "Add") and produced_by(node.inputs[1 - place], *PRODUCTS) is not None:
            return True
    return False


def _demoted(dtype: ir.DataType | None) -> ir.DataType | None:
    return _D.FLOAT if dtype is _D.DOUBLE else dtype


def _derive(node: ir.Node, out: ir.Value, types: Types) -> ir.DataType | None:
    kind = node.op_type
    if not op(node, kind):
        return None
    if kind in MAKES_CONSTANTS:
        return _constant_type(node, out)
    if kind == "Cast":
        return _D(attribute_int(node, "to", _D.UNDEFINED))
    if kind in ("QuantizeLinear", "DequantizeLinear"):
        return _quantization_type(node, types)
    if kind in ("Shape", "Size", "ArgMax", "ArgMin"):
        return _D.INT64
    if kind in _COMPARISONS or kind in _LOGIC:
        return _D.BOOL
    first = _input_type(node, 1 if kind == "Where" else 0, types)
    undetermined = unlike_operands(node, types) or (first in QUANTIZED and kind not in _MOVES)
    return None if undetermined else first


def _quantization_type(node: ir.Node, types: Types) -> ir.DataType | None:
    asked = attribute_int(node, "output_dtype", _D.UNDEFINED)
    if asked != _D.UNDEFINED:
        return _D(asked)
    if node.op_type == "DequantizeLinear":
        return _input_type(node, 1, types)
    return _D.UINT8 if input_at(node, 2) is None else _input_type(node, 2, types)


def _input_type(node: ir.Node, place: int, types: Types) -> ir.DataType | None:
    value = input_at(node, place)
    return None if value is None else types.get(value)


def _constant_type(node: ir.Node, out: ir.Value) -> ir.DataType | None:
    if node.op_type == "Constant":
        tensor = ir.convenience.get_const_tensor(out)
        return None if tensor is None else tensor.dtype
    fill = node.attributes.get("value")
    return _D.FLOAT if fill is None else fill.as_tensor().dtype
