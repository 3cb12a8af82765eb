"""The Attention op in the form that each runtime computes best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.ir.edit import add_initializer, attribute_int, make_node, op, replace_node, static_dim, sweep
from compiler.ir.encoder import attention_scale
from compiler.ir.mask import MASKED, mask_source
from targets.errors import InternalError

_DTYPE = ir.DataType.FLOAT


@dataclass(frozen=True, slots=True)
class _Operands:
    node: ir.Node
    query: ir.Value
    key: ir.Value
    value: ir.Value
    mask: ir.Value | None
    heads: int
    head_size: int
    scale: float

    @property
    def name(self) -> str:
        return str(self.node.name)


def to_multi_head_attention(model: ir.Model) -> None:
    """Every Attention as onnxruntime's fused com.microsoft MultiHeadAttention.

    The padding mask is given as [batch, sequence] integers when it comes from `attention_mask` alone,
    as a full (batch, 1, query, key) bias when that is its shape, and otherwise the op is written out.
    """
    graph = model.graph
    for node in [each for each in graph if op(each, "Attention")]:
        each = _operands(node)
        source = mask_source(each.mask)
        if source is not None:
            _fuse(graph, each, key_mask=_integer_mask(graph, source), bias=None)
        elif each.mask is None or _is_full(each.mask):
            _fuse(graph, each, key_mask=None, bias=each.mask)
        else:
            _expand(graph, each)
    model.opset_imports.setdefault("com.microsoft", 1)
    sweep(graph)


def to_primitives(model: ir.Model) -> None:
    """Every Attention as Reshape, Transpose, MatMul, Add and Softmax."""
    graph = model.graph
    for node in [each for each in graph if op(each, "Attention")]:
        _expand(graph, _operands(node))
    sweep(graph)


def _operands(node: ir.Node) -> _Operands:
    query, key, value = node.inputs[:3]
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    heads = attribute_int(node, "q_num_heads", 1)
    width = static_dim(query, -1)
    if query is None or key is None or value is None or width is None:
        raise InternalError(f"{node.name}: an operand is missing or of unknown width")
    return _Operands(node, query, key, value, mask, heads, width // heads, attention_scale(node))


def _is_full(mask: ir.Value) -> bool:
    shape = mask.shape
    return mask.dtype == _DTYPE and shape is not None and len(shape) == 4 and shape[2] != 1 and shape[3] != 1


def _integer_mask(graph: ir.Graph, source: ir.Value) -> ir.Value:
    for use in source.uses():
        if use.node.name == "key_padding_mask":
            return use.node.outputs[0]
    cast = make_node(
        "Cast",
        [source],
        name="key_padding_mask",
        attributes={"to": int(ir.DataType.INT32)},
        dtype=ir.DataType.INT32,
        shape=source.shape,
    )
    graph.insert_before(next(iter(graph)), [cast])
    return cast.outputs[0]


def _fuse(graph: ir.Graph, each: _Operands, *, key_mask: ir.Value | None, bias: ir.Value | None) -> None:
    del graph
    out = each.node.outputs[0]
    attributes = {"num_heads": each.heads, "scale": each.scale, "mask_filter_value": MASKED}
    inputs = [each.query, each.key, each.value, None, key_mask, bias]
    while inputs[-1] is None:
        inputs.pop()
    fused = make_node(
        "MultiHeadAttention",
        inputs,
        name=f"{each.name}_mha",
        attributes=attributes,
        domain="com.microsoft",
        dtype=_DTYPE,
        shape=out.shape,
    )
    replace_node(each.node, [fused], fused.outputs[0])


def _expand(graph: ir.Graph, each: _Operands) -> None:
    name = each.name
    heads = _shared(graph, f"heads_{each.heads}x{each.head_size}", [0, 0, each.heads, each.head_size])
    merge = _shared(graph, f"merge_{each.heads * each.head_size}", [0, 0, each.heads * each.head_size])
    nodes: list[ir.Node] = []

    def emit(op_type: str, inputs: list[ir.Value], suffix: str, **attributes: object) -> ir.Value:
        node = make_node(op_type, inputs, name=f"{name}_{suffix}", attributes=dict(attributes), dtype=_DTYPE)
        nodes.append(node)
        return node.outputs[0]

    def split(value: ir.Value, suffix: str, perm: list[int]) -> ir.Value:
        view = emit("Reshape", [value, heads], f"{suffix}_heads")
        return emit("Transpose", [view], suffix, perm=perm)

    query = split(each.query, "q", [0, 2, 1, 3])
    key = split(each.key, "k", [0, 2, 3, 1])
    value = split(each.value, "v", [0, 2, 1, 3])
    scores = emit("MatMul", [query, key], "scores")
    if each.scale != 1.0:
        factor = add_initializer(graph, f"{name}_scale", np.float32(each.scale))
        scores = emit("Mul", [scores, factor], "scaled")
    if each.mask is not None:
        scores = emit("Add", [scores, _float_mask(graph, each, nodes)], "masked")
    context = emit("MatMul", [emit("Softmax", [scores], "probabilities", axis=-1), value], "context")
    merged = emit("Transpose", [context], "rows", perm=[0, 2, 1, 3])
    result = emit("Reshape", [merged, merge], "result")
    result.shape = each.node.outputs[0].shape
    replace_node(each.node, nodes, result)


def _float_mask(graph: ir.Graph, each: _Operands, nodes: list[ir.Node]) -> ir.Value:
    mask = each.mask
    if mask is None:
        raise InternalError(f"{each.name} has no mask")
    if mask.dtype != ir.DataType.BOOL:
        return mask
    zero = add_initializer(graph, "mask_kept", np.float32(0.0))
    low = add_initializer(graph, "mask_hidden", np.float32(MASKED))
    node = make_node("Where", [mask, zero, low], name=f"{each.name}_mask", dtype=_DTYPE, shape=mask.shape)
    nodes.append(node)
    return node.outputs[0]


def _shared(graph: ir.Graph, name: str, dims: list[int]) -> ir.Value:
    known = graph.initializers.get(name)
    return add_initializer(graph, name, np.array(dims, np.int64)) if known is None else known
