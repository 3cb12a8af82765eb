"""Lowering to OpenVINO's CPU plugin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx_ir as ir

from compiler.ir.attention import to_primitives
from compiler.ir.execute import clone, serialize
from compiler.ir.linear import Linear, linears_of
from compiler.lower.artifact import Artifact
from compiler.lower.biases import lower_biases
from compiler.lower.openvino_census import read_census
from compiler.lower.tables import lower_tables
from compiler.quantize.plan import QParam, QuantPlan, QWeight
from targets.errors import InternalError, UnsupportedError
from targets.runtime.backends.openvino_devices import ALLOWED_OPTIONS
from targets.spec import Device, Precision
from targets.temporary import scratch_folder

XML: Final = "model/openvino_model.xml"
BIN: Final = "model/openvino_model.bin"
MINIMUM_VERSION: Final = "2024.6"
LEVELS: Final = 256
DYNAMIC_GROUPS: Final = (64, 32)
_VIEWS: Final = ("Reshape", "Transpose")


def lower(model: ir.Model, plan: QuantPlan, precision: Precision) -> Artifact:
    """Write an OpenVINO IR that its CPU plugin runs best.

    The float graph goes through OpenVINO's ONNX reader; the plan is then written as FakeQuantize on
    activations and S8 constants with one scale per column on weights, which the plugin's low precision
    transformations turn into INT8 matrix products with the bias, the activation function and the next
    quantization inside. Operands of attention products are S8 with zero point 0 and probabilities U8,
    which it runs as one subgraph.

    Args:
        model: the float IR; it is not changed.
        plan: from the quantizer, empty for a float precision.
        precision: "bf16" and "fp16" store the weights so; "bf16" also asks the plugin to compute so.

    Raises:
        UnsupportedError: a product planned as INT8 that OpenVINO would run in float.
    """
    import openvino as ov

    copy = clone(model)
    lower_biases(copy, plan)
    writer = _Writer(copy, plan)
    lower_tables(copy, plan.tables)
    to_primitives(copy)
    network = ov.Core().read_model(serialize(copy))
    writer.write(network)
    _keep_inputs(network, copy)
    if precision in ("bf16", "fp16"):
        _store_half(network, precision)
    _name_by_place(network)
    options = _options(plan, precision)
    census = read_census(network, plan, options, writer.aliases)
    census.require_int8("OpenVINO")
    return Artifact("openvino", XML, _files(network), MINIMUM_VERSION, options, census, precision)


def _options(plan: QuantPlan, precision: Precision) -> dict[str, str]:
    options = {"INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32"}
    if not plan.static and any(each.decision.compute == "int8" for each in plan.linears.values()):
        options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = str(_dynamic_group(plan))
    return options


def device_options(device: Device, precision: Precision, options: Mapping[str, str]) -> dict[str, str]:
    """The options of an artifact on the device that it ships to; it is lowered and read back on the CPU.

    On a GPU or NPU what is not INT8 is computed in FP16, but for a GPU's `fp32`.

    Raises:
        UnsupportedError: a precision that the device does not compute in.
    """
    if device == "CPU":
        return dict(options)
    check_device_precision(device, precision)
    kept = {key: value for key, value in options.items() if key in ALLOWED_OPTIONS[device]}
    return {**kept, "INFERENCE_PRECISION_HINT": "f32" if precision == "fp32" else "f16"}


def check_arch_precision(arch: str, precision: Precision) -> None:
    """Refuse INT8 where OpenVINO's kernels compute it wrongly (docs/arm.md).

    Raises:
        UnsupportedError: INT8 products on ARM.
    """
    if arch == "aarch64" and precision in ("int8", "int8-dynamic"):
        raise UnsupportedError(
            "OpenVINO's ARM kernels multiply every column of an INT8 product by the scale of the first, "
            "where its activations are symmetric or their zero point is 128",
            "use --runtime onnxruntime, which is exact on ARM, or --precision fp32 or fp16",
        )


def check_device_precision(device: Device, precision: Precision) -> None:
    """Refuse what a device would silently compute otherwise.

    Raises:
        UnsupportedError: BF16 on a GPU or NPU, INT8 with dynamic ranges or FP32 on an NPU.
    """
    refused = {"GPU": ("bf16",), "NPU": ("bf16", "int8-dynamic", "fp32")}
    if precision in refused.get(device, ()):
        raise UnsupportedError(
            f"OpenVINO has no {precision} on its device {device}", "use --precision int8 or fp16"
        )


def _dynamic_group(plan: QuantPlan) -> int:
    """The widest group that no product's input is narrower than; in a wider one it would stay in float."""
    widths = [len(each.weight.values) for each in plan.linears.values() if each.weight is not None]
    return next((each for each in DYNAMIC_GROUPS if each <= min(widths, default=each)), DYNAMIC_GROUPS[-1])


class _Writer:
    """Writes a plan into an OpenVINO model, finding nodes by the values that they make in the IR."""

    def __init__(self, model: ir.Model, plan: QuantPlan) -> None:
        self._plan = plan
        linears = linears_of(model.graph)
        self.aliases = {each.name: _result_names(each) for each in linears}
        self._products = {each.name: str(each.matmul.outputs[0].name) for each in linears}
        self._quantized: dict[tuple[str, int, QParam], Any] = {}

    def write(self, network: Any) -> None:
        nodes = {name: node for node in network.get_ordered_ops() for name in _tensor_names(node)}
        for name, decided in self._plan.linears.items():
            if decided.decision.compute != "int8" or decided.weight is None:
                continue
            node = _find(nodes, self._products[name])
            if decided.input is not None:
                self._quantize(node, 0, decided.input)
            _replace_product(node, decided.weight)
        for name, attention in self._plan.attentions.items():
            if attention.decision.compute == "int8":
                scores, context = _find(nodes, f"{name}_scores_out"), _find(nodes, f"{name}_context_out")
                probabilities = QParam(1.0 / 255.0, 0, False, False, "softmax")
                operands = (
                    (scores, 0, attention.query),
                    (scores, 1, attention.key),
                    (context, 1, attention.value),
                )
                for node, position, param in operands:
                    if param is not None:
                        self._quantize(*_projected(node, position), param)
                self._quantize(context, 0, probabilities)
        network.validate_nodes_and_infer_types()

    def _quantize(self, node: Any, position: int, param: QParam) -> None:
        from openvino import opset13 as ops

        source = node.input_value(position)
        key = (source.get_node().get_friendly_name(), source.get_index(), param)
        if key not in self._quantized:
            low, high = (ops.constant(np.float32(bound)) for bound in param.bounds)
            self._quantized[key] = ops.fake_quantize(source, low, high, low, high, LEVELS).output(0)
        node.input(position).replace_source_output(self._quantized[key])


def _result_names(linear: Linear) -> tuple[str, ...]:
    """What else the plugin may call the product, once it has fused the bias into it."""
    return tuple(str(name) for name in (linear.add and linear.add.name, linear.output.name) if name)


def _tensor_names(node: Any) -> Iterator[str]:
    """The values that a product makes; a Result may carry the name of what it returns."""
    if node.get_type_name() == "MatMul":
        yield from node.output(0).get_names()


def _find(nodes: Mapping[str, Any], tensor: str) -> Any:
    if tensor not in nodes:
        raise InternalError(f"OpenVINO's reader made nothing of {tensor!r}")
    return nodes[tensor]


def _projected(node: Any, position: int) -> tuple[Any, int]:
    """The place in front of the views between a projection and an attention product.

    The plugin makes the quantization there part of the projection, which then writes INT8.
    """
    source = node.input_value(position).get_node()
    while source.get_type_name() in _VIEWS and len(source.output(0).get_target_inputs()) == 1:
        node, position = source, 0
        source = node.input_value(0).get_node()
    return node, position


def _replace_product(node: Any, weight: QWeight) -> None:
    """The product with S8 weights stored [out, in], as the plugin's kernels read them."""
    import openvino as ov
    from openvino import opset13 as ops

    values = ops.convert(ops.constant(np.ascontiguousarray(weight.values.T)), "f32")
    dense = ops.multiply(values, ops.constant(weight.scale[:, None]))
    product = ops.matmul(node.input_value(0), dense, False, True)
    name, tensors = node.get_friendly_name(), node.output(0).get_names()
    ov.utils.replace_node(node, product)
    product.set_friendly_name(name)
    product.output(0).set_names(tensors)


def _keep_inputs(network: Any, model: ir.Model) -> None:
    """Inputs that nothing reads, which the reader drops: the mask, where pruning left no attention."""
    import openvino as ov
    from openvino import opset13 as ops

    known = {name for each in network.inputs for name in each.get_names()}
    for value in model.graph.inputs:
        if value.name not in known:
            unread = ops.parameter(ov.PartialShape([-1, -1]), ov.Type.i64, name=value.name)
            unread.output(0).set_names({value.name})
            network.add_parameters([unread])


def _name_by_place(network: Any) -> None:
    """Names that OpenVINO gives are numbered through the process; by place, two compiles agree."""
    for place, node in enumerate(network.get_ordered_ops()):
        if node.get_friendly_name() == node.get_name():
            node.set_friendly_name(f"openvino_{place}")


def _store_half(network: Any, precision: Precision) -> None:
    import openvino as ov
    from openvino import opset13 as ops

    kind = ov.Type.bf16 if precision == "bf16" else ov.Type.f16
    for node in network.get_ordered_ops():
        if (
            node.get_type_name() != "Constant"
            or node.get_element_type() != ov.Type.f32
            or node.data.size < LEVELS
        ):
            continue
        half = ops.convert(_half_constant(node.data, kind), "f32")
        for reader in list(node.output(0).get_target_inputs()):
            reader.replace_source_output(half.output(0))
    network.validate_nodes_and_infer_types()


def _half_constant(data: np.ndarray[Any, Any], kind: Any) -> Any:
    import openvino as ov

    if kind == ov.Type.f16:
        limit = np.finfo(np.float16).max
        return ov.op.Constant(ov.Tensor(np.clip(data, -limit, limit).astype(np.float16)))
    tensor = ov.Tensor(kind, list(data.shape))
    tensor.data.view(np.uint16)[...] = _bfloat16_bits(data)
    return ov.op.Constant(tensor)


def _bfloat16_bits(data: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Round float32 to the nearest bfloat16, halves to even, as 16-bit words."""
    bits = np.ascontiguousarray(data, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def _files(network: Any) -> dict[str, bytes]:
    import openvino as ov

    with scratch_folder("lowering") as folder:
        path = folder / Path(XML).name
        ov.save_model(network, path, compress_to_fp16=False)
        return {XML: path.read_bytes(), BIN: path.with_suffix(".bin").read_bytes()}
