"""What a quantization plan means, computed in float32 with the rounding written out as graph nodes."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.ir.attention import to_primitives
from compiler.ir.edit import add_initializer, make_node
from compiler.ir.execute import Runner
from compiler.ir.linear import linears_of
from compiler.lower.biases import lower_biases
from compiler.quantize.plan import QParam
from compiler.quantize.quantizer import Quantized

PROBABILITIES = QParam(1.0 / 255.0, 0, False, False, "softmax")


def simulate(quantized: Quantized, *, tables: bool = True) -> Runner:
    """The plan on the float graph: rounded weights and, before every INT8 product, rounded activations.

    Args:
        quantized: graph and plan.
        tables: whether embedding tables are rounded too.
    """
    model, plan = quantized.model.clone(), quantized.plan
    lower_biases(model, plan)
    to_primitives(model)
    for linear in linears_of(model.graph):
        decided = plan.linears[linear.name]
        if decided.decision.compute == "int8" and decided.weight is not None:
            dense = add_initializer(model.graph, f"{linear.name}_dense", decided.weight.dequantized())
            linear.matmul.replace_input_with(1, dense)
            _round(model.graph, linear.matmul, 0, decided.input)
    nodes = {str(node.name): node for node in model.graph}
    for name, each in plan.attentions.items():
        if each.decision.compute == "int8":
            scores, context = nodes[f"{name}_scores"], nodes[f"{name}_context"]
            for node, position, param in (
                (scores, 0, each.query),
                (scores, 1, each.key),
                (context, 0, PROBABILITIES),
                (context, 1, each.value),
            ):
                _round(model.graph, node, position, param)
    for name, rows in plan.tables.items() if tables else ():
        table = add_initializer(model.graph, f"{name}_dense", rows.dequantized())
        nodes[name].replace_input_with(0, table)
    return Runner(model, threads=1, optimize=False)


def _round(graph: ir.Graph, node: ir.Node, position: int, param: QParam | None) -> None:
    value = node.inputs[position]
    if param is None or value is None:
        return
    stem = f"{node.name}_{position}"
    dtype = np.int8 if param.signed else np.uint8
    operands = [
        add_initializer(graph, f"{stem}_scale", np.float32(param.scale)),
        add_initializer(graph, f"{stem}_zero", np.asarray(param.zero_point, dtype)),
    ]
    kind = ir.DataType.INT8 if param.signed else ir.DataType.UINT8
    down = make_node("QuantizeLinear", [value, *operands], name=f"{stem}_down", dtype=kind, shape=value.shape)
    up = make_node(
        "DequantizeLinear",
        [down.outputs[0], *operands],
        name=f"{stem}_up",
        dtype=value.dtype,
        shape=value.shape,
    )
    graph.insert_before(node, [down, up])
    node.replace_input_with(position, up.outputs[0])
