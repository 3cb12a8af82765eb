"""A text form of the IR that diffs well: one node a line, weights by shape and checksum."""

from __future__ import annotations

import zlib

import numpy as np
import onnx_ir as ir

_SMALL = 4


def to_text(model: ir.Model) -> str:
    """The whole model: inputs, initializers by name, nodes in order, outputs."""
    graph = model.graph
    opsets = ", ".join(
        f"{domain or 'ai.onnx'}:{version}" for domain, version in sorted(model.opset_imports.items())
    )
    lines = [f"opset {opsets}"]
    lines += [f"input {_typed(value)}" for value in graph.inputs]
    lines += [_initializer_line(graph.initializers[name]) for name in sorted(graph.initializers)]
    lines += [node_line(node) for node in graph]
    lines += [f"output {_typed(value)}" for value in graph.outputs]
    return "\n".join(lines) + "\n"


def node_line(node: ir.Node) -> str:
    """One node: `outputs = Op(inputs) {attributes}`."""
    outputs = ", ".join(_typed(out) for out in node.outputs)
    inputs = ", ".join("_" if value is None else str(value.name) for value in node.inputs)
    name = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    attributes = ", ".join(f"{key}={_attribute(node.attributes[key])}" for key in sorted(node.attributes))
    return f"{outputs} = {name}({inputs})" + (f" {{{attributes}}}" if attributes else "")


def _typed(value: ir.Value) -> str:
    dtype = value.dtype.name.lower() if value.dtype is not None else "?"
    shape = "[?]" if value.shape is None else "[" + ",".join(_dim(d) for d in value.shape) + "]"
    return f"{value.name}: {dtype}{shape}"


def _dim(dim: int | ir.SymbolicDim) -> str:
    return str(dim) if isinstance(dim, int) else str(dim.value or "?")


def _initializer_line(value: ir.Value) -> str:
    if value.const_value is None:
        return f"weight {_typed(value)} = (no data)"
    array = value.const_value.numpy()
    if array.size <= _SMALL:
        return f"weight {_typed(value)} = {array.tolist()}"
    return f"weight {_typed(value)} = crc32:{zlib.crc32(np.ascontiguousarray(array).tobytes()):08x}"


def _attribute(attribute: ir.Attr) -> str:
    if attribute.type == ir.AttributeType.TENSOR:
        return str(attribute.as_tensor().numpy().tolist())
    value = attribute.value
    return str(list(value)) if isinstance(value, tuple) else str(value)
