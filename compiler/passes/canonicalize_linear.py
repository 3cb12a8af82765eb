"""Every linear layer as MatMul with a constant [in, out] matrix, then Add."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from compiler.ir.edit import (
    add_initializer,
    attribute_int,
    constant,
    like,
    make_node,
    op,
    produced_by,
    replace_node,
    sweep,
)
from compiler.passes.base import Declined, Pass, PassResult


@dataclass(frozen=True)
class CanonicalizeLinear(Pass):
    """`Gemm(x, W, b)` becomes `Add(MatMul(x, W), b)`, and a transposed W is stored as [in, out].

    A decoder that is tied to the embedding table becomes a matrix of its own, whatever its size.
    """

    def run(self, model: ir.Model) -> PassResult:
        """Rewrite every Gemm with a constant matrix."""
        count, declined = 0, []
        for node in [each for each in model.graph if op(each, "Gemm")]:
            reason = _objection(node)
            if reason:
                declined.append(Declined(str(node.name), reason))
                continue
            _rewrite(model.graph, node)
            count += 1
        transposed = _store_transposed(model.graph)
        removed = sweep(model.graph)
        counts = {"gemm": count, "transposed": transposed}
        return PassResult(count + transposed + removed > 0, counts, tuple(declined))


def _store_transposed(graph: ir.Graph) -> int:
    count = 0
    for node in [each for each in graph if op(each, "MatMul")]:
        transpose = produced_by(node.inputs[1], "Transpose")
        array = None if transpose is None else constant(transpose.inputs[0])
        if transpose is None or array is None or array.ndim != 2:
            continue
        name = "weight" if transpose.inputs[0] is None else transpose.inputs[0].name
        node.replace_input_with(1, add_initializer(graph, f"{name}_T", array.T))
        count += 1
    return count


def _objection(node: ir.Node) -> str | None:
    if constant(node.inputs[1]) is None:
        return "its matrix is not constant"
    if attribute_int(node, "transA", 0):
        return "it transposes its activation"
    if any(node.attributes[key].as_float() != 1.0 for key in ("alpha", "beta") if key in node.attributes):
        return "it scales its operands"
    return None


def _rewrite(graph: ir.Graph, node: ir.Node) -> None:
    weight = node.inputs[1]
    array = constant(weight)
    if weight is None or array is None:
        return
    if attribute_int(node, "transB", 0):
        weight = add_initializer(graph, f"{weight.name}_T", array.T)
        array = array.T
    out = node.outputs[0]
    shape = like(out)
    product = make_node(
        "MatMul", [node.inputs[0], weight], name=f"{node.name}_matmul", dtype=out.dtype, shape=shape
    )
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        replace_node(node, [product], product.outputs[0])
        return
    add = make_node("Add", [product.outputs[0], bias], name=f"{node.name}_bias", dtype=out.dtype, shape=shape)
    replace_node(node, [product, add], add.outputs[0])
