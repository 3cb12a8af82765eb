"""What onnxruntime really runs, read from the model that it writes after its own optimizations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import onnx_ir as ir

from compiler.ir.edit import constant
from compiler.lower.artifact import Census, Placement
from compiler.lower.traps import FLOAT_BIAS_GEMM, SHARED_S8, STATIC_DIMS
from compiler.quantize.plan import QuantPlan
from targets.temporary import scratch_folder

INT8_KERNELS: Final = frozenset(
    {"MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm", "MatMulInteger", "QAttention"}
)
_GEMMS: Final = ("Gemm", "FusedGemm")
_MATMULS: Final = ("MatMul", "FusedMatMul")
_FUSION: Final = "/MatMulAddFusion"
_MISSING: Final = "an operator of another name"


def int8_name(linear_name: str) -> str:
    """The name of the node that computes a linear layer in INT8."""
    return f"{linear_name}_int8"


def read_census(data: bytes, plan: QuantPlan) -> Census:
    """Open a model and read back where each product went.

    A product is found by the name that the lowering gives it, its own name, or the name that
    onnxruntime gives the Gemm that it makes of it. Every kernel of `INT8_KERNELS` takes 8-bit operands by
    its type constraints, so that the operator's kind is proof.

    Args:
        data: the ONNX file, QuantizeLinear and DequantizeLinear pairs or fused operators.
        plan: what should run in INT8.
    """
    import onnxruntime as ort

    graph = _optimized(data)
    nodes = {str(node.name): node for node in graph}
    placements = []
    for name, decided in plan.linears.items():
        if decided.decision.compute == "int8":
            placements.append(_placement(name, decided.role, nodes))
    return Census(
        Counter(node.op_type for node in graph), tuple(placements), str(ort.__version__).split("+")[0]
    )


def _optimized(data: bytes) -> ir.Graph:
    import onnxruntime as ort

    with scratch_folder("lowering") as folder:
        path = folder / "optimized.onnx"
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        graph = ir.load(path).graph
        for value in graph.initializers.values():
            _small(value)
        return graph


def _small(value: ir.Value) -> None:
    """Read what the diagnosis needs while the file is there."""
    if value.const_value is not None and value.const_value.size <= 1:
        value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)


def _placement(name: str, role: str, nodes: Mapping[str, ir.Node]) -> Placement:
    candidates = (int8_name(name), name, f"{name}{_FUSION}")
    node = next((nodes[each] for each in candidates if each in nodes), None)
    if node is None:
        return Placement(name, role, _MISSING, False)
    int8 = node.op_type in INT8_KERNELS
    return Placement(name, role, node.op_type, int8, None if int8 else _diagnose(node))


def _diagnose(node: ir.Node) -> str | None:
    """The trap that an operator in float fell into; None where it is not a known one."""
    sources = [_dequantize(each) for each in node.inputs[:2]]
    if None in sources:
        return None
    if node.op_type in _GEMMS:
        return STATIC_DIMS if str(node.name).endswith(_FUSION) else FLOAT_BIAS_GEMM
    if node.op_type in _MATMULS and sources[0] is not None and _shared_s8(sources[0]):
        return SHARED_S8
    return None


def _dequantize(value: ir.Value | None) -> ir.Node | None:
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type == "DequantizeLinear" else None


def _shared_s8(dequantize: ir.Node) -> bool:
    zero, source = _input(dequantize.inputs, 2), dequantize.inputs[0]
    stored = None if zero is None else constant(zero)
    signed = stored is not None and stored.dtype.kind == "i"
    return signed and source is not None and len(source.uses()) > 1


def _input(inputs: Sequence[ir.Value | None], place: int) -> ir.Value | None:
    return inputs[place] if len(inputs) > place else None
