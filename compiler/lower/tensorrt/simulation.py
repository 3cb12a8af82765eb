"""A strongly typed graph on a CPU, with the numbers that its types stand for.

What TensorRT makes of a graph on a GPU cannot be measured without that GPU. This computes the graph that
ships, operator by operator: Q/DQ pairs with their exact integers or FP8 numbers, and every FP16 or BF16 value
rounded as it is stored, after sums in FP32. A GPU differs from it by the order of its sums, by fusions that
round less often, and by kernels that add in FP16.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.edit import add_initializer, constant, make_node, op, produced_by, replace_value, sweep
from compiler.ir.execute import serialize

NAME: Final = "simulated"
_HALVES: Final = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
_PRODUCTS: Final = ("MatMul", "Gemm")
_MOVES: Final = (
    "Reshape",
    "Transpose",
    "Gather",
    "Slice",
    "Concat",
    "Split",
    "Squeeze",
    "Unsqueeze",
    "Where",
    "Identity",
)


class SimulatedBackend:
    """A typed graph as a backend of `targets.runtime.session.Session`; its numbers are simulated.

    Args:
        data: the ONNX file that ships.
        threads: for onnxruntime, which does the arithmetic; 0 for every core.
    """

    def __init__(self, data: bytes, *, threads: int = 0) -> None:
        """Builds the session."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Fusions across Q/DQ pairs would compute on other integer kernels than the ones simulated.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self._session: Any = ort.InferenceSession(
            simulation_of(data), options, providers=["CPUExecutionProvider"]
        )
        self.name = NAME
        self.version = str(ort.__version__)
        self.input_names = tuple(each.name for each in self._session.get_inputs())
        self.output_names = tuple(each.name for each in self._session.get_outputs())

    def run(
        self, feeds: Mapping[str, NDArray[Any]], outputs: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """One batch."""
        names = list(outputs or self.output_names)
        known = {name: feeds[name] for name in self.input_names}
        return dict(zip(names, self._session.run(names, known), strict=True))

    def close(self) -> None:
        """Drops the session."""
        self._session = None


def simulation_of(data: bytes) -> bytes:
    """The same graph in FP32 with each rounding written out.

    Constants behind a DequantizeLinear are dequantized here, in the graph's float type where a product has
    them with float activations, and exactly where both operands are quantized and the product is computed on
    the integers.

    Args:
        data: an ONNX file of one float type for each value.
    """
    import onnx

    model = ir.from_proto(onnx.ModelProto.FromString(data))
    kinds = {
        value: value.dtype
        for node in model.graph
        for value in (*node.inputs, *node.outputs)
        if value is not None and value.dtype in _HALVES
    }
    for node in list(model.graph):
        _widen_constants(model.graph, node)
    for node in list(model.graph):
        _widen(model.graph, node, kinds)
    sweep(model.graph)
    return serialize(model)


def _widen_constants(graph: ir.Graph, node: ir.Node) -> None:
    for place, value in enumerate(node.inputs):
        array = constant(value)
        if value is not None and array is not None and value.dtype in _HALVES:
            node.replace_input_with(
                place, add_initializer(graph, f"{value.name}_wide", array.astype(np.float32))
            )


def _widen(graph: ir.Graph, node: ir.Node, kinds: Mapping[ir.Value, ir.DataType | None]) -> None:
    if op(node, "DequantizeLinear") and constant(node.inputs[0]) is not None:
        _dequantize(graph, node, kinds.get(node.outputs[0]))
        return
    kind = kinds.get(node.outputs[0])
    if kind is None:
        return
    for out in node.outputs:
        if out in kinds:
            out.type = ir.TensorType(ir.DataType.FLOAT)
    if op(node, *_MOVES) or (op(node, "DequantizeLinear") and _on_integers(node)):
        return
    _round(graph, node, kind)


def _round(graph: ir.Graph, node: ir.Node, kind: ir.DataType) -> None:
    if op(node, "Cast"):
        node.attributes["to"] = ir.AttrInt64("to", int(ir.DataType.FLOAT))
    out = node.outputs[0]
    narrow = _cast(out, kind, f"{out.name}_rounded")
    wide = _cast(narrow.outputs[0], ir.DataType.FLOAT, f"{out.name}_widened")
    graph.insert_after(node, [narrow, wide])
    replace_value(out, wide.outputs[0])
    narrow.replace_input_with(0, out)


def _cast(value: ir.Value, to: ir.DataType, name: str) -> ir.Node:
    return make_node("Cast", [value], name=name, attributes={"to": int(to)}, dtype=to, shape=value.shape)


def _on_integers(node: ir.Node) -> bool:
    """Whether every reader is a product of two dequantized operands, which are never stored as floats."""
    readers = [use.node for use in node.outputs[0].uses()]
    return bool(readers) and all(
        op(each, *_PRODUCTS) and all(produced_by(value, "DequantizeLinear") for value in each.inputs[:2])
        for each in readers
    )


def _dequantize(graph: ir.Graph, node: ir.Node, kind: ir.DataType | None) -> None:
    values, scale = constant(node.inputs[0]), constant(node.inputs[1])
    if values is None or scale is None:
        return
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis] = -1
    dense = values.astype(np.float32) * scale.astype(np.float32).reshape(shape)
    if kind is not None and not _on_integers(node):
        from compiler.lower.tensorrt.scales import numpy_type

        dense = dense.astype(numpy_type(kind)).astype(np.float32)
    replace_value(node.outputs[0], add_initializer(graph, f"{node.outputs[0].name}_dense", dense))
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
