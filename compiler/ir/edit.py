"""Small edits of an onnx_ir graph, shared by every pass and every lowering."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from targets.errors import InternalError


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph that owns `node`.

    Raises:
        InternalError: the node is detached.
    """
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        raise InternalError(f"node {node.name!r} belongs to no graph")
    return graph


def constant(value: ir.Value | None) -> NDArray[Any] | None:
    """The array of an initializer or of a Constant node's output, or None."""
    if value is None or value.is_graph_input():
        return None
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None else tensor.numpy()


def scalar(value: ir.Value | None) -> float | None:
    """The number in a one-element constant, or None."""
    array = constant(value)
    if array is None or array.size != 1 or array.dtype == np.bool_:
        return None
    return float(array.reshape(()))


def op(node: ir.Node | None, *names: str) -> bool:
    """Whether `node` is a standard-domain op with one of these names."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op_type in names


def produced_by(value: ir.Value | None, *names: str) -> ir.Node | None:
    """The node that makes `value`, if it is one of these ops."""
    if value is None:
        return None
    node = value.producer()
    return node if op(node, *names) else None


def only_consumer(value: ir.Value) -> ir.Node | None:
    """The single node that reads `value` once; None if others read it or it leaves the graph."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    return next(iter(uses)).node


def attribute_int(node: ir.Node, name: str, default: int) -> int:
    """An integer attribute."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def attribute_ints(node: ir.Node, name: str) -> tuple[int, ...] | None:
    """A list attribute of integers, or None."""
    attribute = node.attributes.get(name)
    return None if attribute is None else tuple(attribute.as_ints())


def static_dim(value: ir.Value | None, axis: int) -> int | None:
    """The size of one axis if it is known at compile time."""
    if value is None or value.shape is None or not -len(value.shape) <= axis < len(value.shape):
        return None
    dim = value.shape[axis]
    return dim if isinstance(dim, int) else None


def add_initializer(graph: ir.Graph, name: str, array: NDArray[Any] | np.generic) -> ir.Value:
    """Register an array as an initializer, under `name` or the first free variant of it."""
    unique = name
    suffix = 1
    while unique in graph.initializers:
        unique, suffix = f"{name}_{suffix}", suffix + 1
    tensor = ir.tensor(np.asarray(array, order="C"), name=unique)
    value = ir.Value(
        name=unique, type=ir.TensorType(tensor.dtype), shape=ir.Shape(np.shape(array)), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def make_node(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    *,
    name: str,
    attributes: dict[str, Any] | None = None,
    domain: str = "",
    outputs: Sequence[str] | None = None,
    dtype: ir.DataType | None = None,
    shape: ir.Shape | None = None,
) -> ir.Node:
    """A node whose outputs are named after it, with the first output's type and shape."""
    names = outputs or (f"{name}_out",)
    values = [ir.Value(name=each) for each in names]
    if dtype is not None:
        values[0].type = ir.TensorType(dtype)
    if shape is not None:
        values[0].shape = shape
    return ir.node(op_type, inputs, attributes=attributes or {}, domain=domain, outputs=values, name=name)


def like(value: ir.Value, **last: int) -> ir.Shape | None:
    """The shape of `value`, with its last axis replaced when `last=N` is given."""
    if value.shape is None:
        return None
    dims: list[Any] = list(value.shape)
    if "last" in last:
        dims[-1] = last["last"]
    return ir.Shape(dims)


def replace_value(old: ir.Value, new: ir.Value) -> None:
    """Let every reader of `old`, and the graph's outputs, read `new`; an output keeps its name."""
    if old.is_graph_output():
        name = old.name
        old.name = f"{name}_replaced"
        new.name = name
    ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
    if new.type is None:
        new.type = old.type
    if new.shape is None:
        new.shape = old.shape


def replace_node(old: ir.Node, new: Iterable[ir.Node], result: ir.Value) -> None:
    """Put `new` where `old` stood, and let the readers of its first output read `result`."""
    graph = graph_of(old)
    graph.insert_before(old, list(new))
    replace_value(old.outputs[0], result)


def sweep(graph: ir.Graph) -> int:
    """Remove nodes whose outputs nobody reads, and initializers nobody uses.

    Returns:
        How many nodes and initializers were removed.
    """
    removed = 0
    for node in reversed(graph):
        if not any(out.uses() or out.is_graph_output() for out in node.outputs):
            graph.remove(node, safe=True)
            removed += 1
    unused = [name for name, v in graph.initializers.items() if not v.uses() and not v.is_graph_output()]
    for name in unused:
        del graph.initializers[name]
    return removed + len(unused)


def weight_bytes(model: ir.Model) -> int:
    """Bytes of every initializer."""
    arrays = (constant(each) for each in model.graph.initializers.values())
    return sum(array.nbytes for array in arrays if array is not None)


def upstream(value: ir.Value, stop: frozenset[ir.Value] = frozenset()) -> list[ir.Node]:
    """Every node that `value` depends on, in topological order, not looking beyond `stop`."""
    order: list[ir.Node] = []
    seen: set[ir.Node] = set()
    stack: list[tuple[ir.Value, bool]] = [(value, False)]
    while stack:
        current, done = stack.pop()
        node = current.producer()
        if node is None or current in stop:
            continue
        if done:
            order.append(node)
            continue
        if node in seen:
            continue
        seen.add(node)
        stack.append((current, True))
        stack.extend((each, False) for each in reversed(node.inputs) if each is not None)
    return order
