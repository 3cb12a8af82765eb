"""The verifier that runs after every pass."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from targets.errors import InternalError

KNOWN_DOMAINS = frozenset({"", "ai.onnx", "com.microsoft"})


def verify(model: ir.Model) -> None:
    """Check that a model is well formed.

    Values are defined before they are read, names of values and of nodes (which key every table of a
    plan) are unique, every initializer holds data of its declared type and shape, every node output
    and graph output has a type, and every domain is one that a runtime here implements.

    Raises:
        InternalError: the first fault, with the lines of the graph around it.
    """
    fault = next(faults(model), None)
    if fault is not None:
        node, message = fault
        raise InternalError(message if node is None else f"{message}\n{_excerpt(model.graph, node)}")


def faults(model: ir.Model) -> Iterator[tuple[ir.Node | None, str]]:
    """Every fault of a model, each with the node it was found at."""
    graph = model.graph
    names: set[str] = set()
    defined: set[ir.Value] = set()
    for value in [*graph.inputs, *graph.initializers.values()]:
        defined.add(value)
        yield from ((None, message) for message in _name_faults(value, names))
    for value in graph.initializers.values():
        yield from ((None, message) for message in _initializer_faults(value))
    nodes: set[str] = set()
    for node in graph:
        if not node.name or node.name in nodes:
            yield node, f"{node.op_type} has no name of its own but {node.name!r}"
        nodes.add(str(node.name))
        yield from ((node, message) for message in _node_faults(node, defined))
        for out in node.outputs:
            defined.add(out)
            if out.name:
                yield from ((node, message) for message in _name_faults(out, names))
    for out in graph.outputs:
        if out not in defined:
            yield None, f"graph output {out.name!r} is made by no node of the graph"
        if out.type is None:
            yield None, f"graph output {out.name!r} has no type"


def _name_faults(value: ir.Value, names: set[str]) -> Iterator[str]:
    if not value.name:
        yield "a graph input or an initializer has no name"
    elif value.name in names:
        yield f"the name {value.name!r} is given to two values"
    else:
        names.add(value.name)


def _initializer_faults(value: ir.Value) -> Iterator[str]:
    tensor = value.const_value
    if tensor is None:
        yield f"initializer {value.name!r} holds no data"
        return
    if value.shape is not None and tuple(value.shape.numpy()) != tuple(tensor.shape.numpy()):
        yield f"initializer {value.name!r} is declared {value.shape} but holds {tensor.shape}"
    if value.dtype is not None and value.dtype != tensor.dtype:
        yield f"initializer {value.name!r} is declared {value.dtype} but holds {tensor.dtype}"


def _node_faults(node: ir.Node, defined: set[ir.Value]) -> Iterator[str]:
    if node.domain not in KNOWN_DOMAINS:
        yield f"{node.op_type} is of the domain {node.domain!r}, which no runtime here implements"
    for position, value in enumerate(node.inputs):
        if value is not None and value not in defined:
            yield f"input {position} of {node.op_type} reads {value.name!r} before it is made"
    for out in node.outputs:
        if (out.uses() or out.is_graph_output()) and out.type is None:
            yield f"{node.op_type} makes {out.name!r} without a type"


def _excerpt(graph: ir.Graph, node: ir.Node, around: int = 3) -> str:
    from compiler.ir.printer import node_line

    nodes = list(graph)
    at = nodes.index(node)
    window = nodes[max(0, at - around) : at + around + 1]
    return "\n".join(("> " if each is node else "  ") + node_line(each) for each in window)
