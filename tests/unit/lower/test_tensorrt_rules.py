"""Each of TensorRT's rules broken alone in a small encoder, and what the real parser says of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from compiler.lower.tensorrt.rule_facts import OPERATORS
from compiler.lower.tensorrt.rules import require_valid, violations
from targets.errors import UnsupportedError

WIDTH, INNER, CLASSES = 64, 96, 3
FP8 = ml_dtypes.float8_e4m3fn
FLOATS = {"fp32": np.float32, "bf16": ml_dtypes.bfloat16}
STORED = {"w8a8": np.int8, "int8-weights": np.int8, "fp8": FP8}
Edit = Callable[["Encoder"], None]


class Encoder:
    """One layer with one head and a classifier; every node's output bears the node's name."""

    def __init__(self, form: str) -> None:
        self.form, self.float = form, FLOATS.get(form, np.float16)
        self.nodes: list[NodeProto] = []
        self.tensors: dict[str, Any] = {}
        self.inputs: dict[str, tuple[int, list[Any]]] = {
            "ids": (TensorProto.INT64, ["batch", "sequence"]),
            "mask": (TensorProto.INT64, ["batch", "sequence"]),
        }
        self.outputs, self.opset = ["logits"], 21
        self._layer()

    def _layer(self) -> None:
        self.add("Gather", ["table" if self.form != "w8a8" else self.table(), "ids"], "hidden")
        self.tensors.setdefault("table", self.ramp(50, WIDTH))
        query, key, value = (self.linear(name, "hidden", WIDTH, WIDTH) for name in ("query", "key", "value"))
        self.add("Transpose", [key], "turned", perm=[0, 2, 1])
        quantized = self.form == "w8a8"
        operands = [self.pair(each) if quantized else each for each in (query, "turned")]
        self.add("MatMul", operands, "scores")
        self.add("Cast", ["mask"], "mask_float", to=helper.np_dtype_to_tensor_dtype(np.dtype(self.float)))
        self.add("Sub", ["mask_float", self.tensor("one", self.float(1))], "mask_off")
        self.add("Mul", ["mask_off", self.tensor("low", self.float(1e4))], "mask_low")
        self.add("Unsqueeze", ["mask_low", self.tensor("axis_1", np.array([1]))], "mask_wide")
        self.add("Add", ["scores", "mask_wide"], "masked")
        self.add("Softmax", ["masked"], "probabilities", axis=-1)
        self.add("MatMul", ["probabilities", value], "context")
        self.add("Add", [self.linear("out", "context", WIDTH, WIDTH), "hidden"], "residual")
        norm = [
            self.tensor("norm_scale", np.ones(WIDTH, self.float)),
            self.tensor("norm_bias", self.zeros(WIDTH)),
        ]
        self.add("LayerNormalization", ["residual", *norm], "normed", axis=-1)
        self.add("Gelu", [self.linear("up", "normed", WIDTH, INNER)], "gelu")
        self.add(
            "Gather",
            [self.linear("down", "gelu", INNER, WIDTH), self.tensor("zero", np.int64(0))],
            "first",
            axis=1,
        )
        weight = self.weight("head", self.ramp(CLASSES, WIDTH), 0)
        self.add(
            "Gemm",
            [self.activation("first"), weight, self.tensor("head_bias", self.zeros(CLASSES))],
            "logits",
            transB=1,
        )

    def ramp(self, *shape: int) -> Any:
        return (np.arange(np.prod(shape)) % 17 / 8 - 1).reshape(shape).astype(self.float)

    def zeros(self, *shape: int) -> Any:
        return np.zeros(shape, self.float)

    def add(self, op_type: str, inputs: list[str], name: str, before: str = "", **attributes: Any) -> str:
        at = next((i for i, each in enumerate(self.nodes) if each.name == before), len(self.nodes))
        self.nodes.insert(at, helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def extra(self, op_type: str, inputs: list[str], **attributes: Any) -> None:
        self.outputs.append(self.add(op_type, inputs, "extra", **attributes))

    def tensor(self, name: str, array: Any) -> str:
        self.tensors[name] = np.asarray(array)
        return name

    def table(self) -> str:
        parameters = [
            self.tensor("table_rows", np.ones((50, WIDTH), np.int8)),
            self.tensor("rows_s", np.full(50, 0.1, self.float)),
        ]
        return self.add("DequantizeLinear", parameters, "table_dq", axis=0)

    def pair(self, value: str) -> str:
        if f"{value}_dq" not in [each.name for each in self.nodes]:
            parameters = [
                self.tensor(f"{value}_s", self.float(0.05)),
                self.tensor(f"{value}_z", STORED[self.form](0)),
            ]
            self.add("QuantizeLinear", [value, *parameters], f"{value}_q")
            self.add("DequantizeLinear", [f"{value}_q", *parameters], f"{value}_dq")
        return f"{value}_dq"

    def activation(self, value: str) -> str:
        return self.pair(value) if self.form in ("w8a8", "fp8") else value

    def weight(self, name: str, array: Any, axis: int) -> str:
        if self.form not in STORED:
            return self.tensor(f"{name}_w", array)
        kind, size = STORED[self.form], array.shape[axis]
        self.tensor(f"{name}_w", (array.astype(np.float32) * 100).astype(kind))
        self.tensor(f"{name}_ws", np.full(size, 0.01, self.float))
        self.tensor(f"{name}_wz", np.zeros(size, np.float32).astype(kind))
        return self.add(
            "DequantizeLinear", [f"{name}_w", f"{name}_ws", f"{name}_wz"], f"{name}_wd", axis=axis
        )

    def linear(self, name: str, value: str, width: int, columns: int) -> str:
        weight = self.weight(name, self.ramp(width, columns), 1)
        self.add("MatMul", [self.activation(value), weight], f"{name}_product")
        return self.add("Add", [f"{name}_product", self.tensor(f"{name}_bias", self.zeros(columns))], name)

    def node(self, name: str) -> NodeProto:
        return next(each for each in self.nodes if each.name == name)

    def inputs_of(self, name: str, *inputs: str) -> None:
        self.node(name).input[:] = inputs

    def axis(self, name: str, axis: int, scale: Any) -> None:
        self.node(f"{name}_wd").attribute[0].i = axis
        self.tensor(f"{name}_ws", scale.astype(self.float))
        self.inputs_of(f"{name}_wd", f"{name}_w", f"{name}_ws")

    def proto(self) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "encoder",
            [helper.make_tensor_value_info(name, *each) for name, each in self.inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in self.outputs],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in self.tensors.items()],
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)


class Broken(NamedTuple):
    """A graph that breaks one rule: where, which, a word of the fix, and what of TensorRT-RTX refuses it."""

    form: str
    edit: Edit
    node: str
    rule: str
    fix: str
    refused_by: str = "nobody"


def from_outside(name: str, kind: int) -> Edit:
    """A constant becomes an input of the graph."""

    def edit(e: Encoder) -> None:
        del e.tensors[name]
        e.inputs[name] = (kind, [])

    return edit


def int32_bias(e: Encoder) -> None:
    e.add(
        "DequantizeLinear",
        [e.tensor("b", np.zeros(INNER, np.int32)), e.tensor("bs", np.ones(INNER, e.float))],
        "b_dq",
        "up",
        axis=0,
    )
    e.inputs_of("up", "up_product", "b_dq")


def int8_bias(e: Encoder) -> None:
    int32_bias(e)
    e.tensor("b", np.zeros(INNER, np.int8))


def int8_gemm_bias(e: Encoder) -> None:
    e.add(
        "DequantizeLinear",
        [e.tensor("b", np.zeros(CLASSES, np.int8)), e.tensor("bs", e.float(1))],
        "b_dq",
        "logits",
    )
    e.node("logits").input[2] = "b_dq"


def unsigned_weight(e: Encoder) -> None:
    e.tensor("up_w", e.tensors["up_w"].view(np.uint8))
    e.inputs_of("up_wd", "up_w", "up_ws")


def no_zero_point(e: Encoder) -> None:
    e.inputs_of("normed_q", "normed", "normed_s")
    e.inputs_of("normed_dq", "normed_q", "normed_s")


def foreign(op_type: str) -> Edit:
    def edit(e: Encoder) -> None:
        e.node("gelu").op_type, e.node("gelu").domain = op_type, "com.microsoft"

    return edit


def channels(e: Encoder) -> None:
    e.tensor("normed_s", np.full(WIDTH, 0.05, e.float))
    e.tensor("normed_z", np.zeros(WIDTH, np.int8))
    for name in ("normed_q", "normed_dq"):
        e.node(name).attribute.append(helper.make_attribute("axis", 2))


def blocks(e: Encoder) -> None:
    e.axis("up", 0, np.full((2, INNER), 0.01))
    e.node("up_wd").attribute.append(helper.make_attribute("block_size", WIDTH // 2))


def fp8_weight(e: Encoder) -> None:
    e.tensor("up_w", np.ones((WIDTH, INNER)).astype(FP8))
    e.tensor("up_wz", np.zeros(INNER).astype(FP8))


def rows_before_dequantize(e: Encoder) -> None:
    e.inputs_of("hidden", "table_rows", "ids")
    e.node("hidden").output[:] = ["rows"]
    e.nodes.remove(e.node("table_dq"))
    e.add("DequantizeLinear", ["rows", e.tensor("rows_s", e.float(0.1))], "rows_dq", "query_product")
    e.add("Identity", ["rows_dq"], "rows_float", "query_product")
    for node in e.nodes:
        node.input[:] = ["rows_float" if each == "hidden" else each for each in node.input]
    order = ["hidden", "rows_dq", "rows_float"]
    e.nodes.sort(key=lambda each: order.index(each.name) if each.name in order else len(order))


def turned_behind_quantize(e: Encoder) -> None:
    e.add("Transpose", ["normed_q"], "between", "normed_dq", perm=[0, 1, 2])
    e.node("normed_dq").input[0] = "between"


def own_scale(e: Encoder) -> None:
    e.node("normed_q").input[1] = e.tensor("wide_scale", np.float32(0.05))


def cast_beside(op_type: str, **attributes: Any) -> Edit:
    def edit(e: Encoder) -> None:
        wide = e.add("Cast", ["normed"], "wide", to=TensorProto.FLOAT)
        chosen = [e.add("Cast", ["ids"], "chosen", to=TensorProto.BOOL)] if op_type == "Where" else []
        e.extra(op_type, [*chosen, "normed", wide], **attributes)

    return edit


def put(name: str, array: Any) -> Edit:
    return lambda e: e.tensor(name, array) and None


def extra(op_type: str, *inputs: str, **attributes: Any) -> Edit:
    return lambda e: e.extra(op_type, list(inputs), **attributes)


HALF, ZERO, NEW = np.float16, "around zero", "standard domain"
BROKEN = {
    "zero point": Broken("w8a8", put("normed_z", np.int8(3)), "normed_q", "zero-point", ZERO, "parser"),
    "zero point of a weight": Broken(
        "int8-weights", put("up_wz", np.ones(INNER, np.int8)), "up_wd", "zero-point", ZERO, "parser"
    ),
    "zero point of FP8": Broken("fp8", put("normed_z", FP8(2)), "normed_q", "zero-point", ZERO),
    "four zero points": Broken(
        "w8a8", put("normed_z", np.zeros(4, np.int8)), "normed_q", "zero-point", "for each scale", "parser"
    ),
    "zero point of another type": Broken(
        "w8a8", put("up_wz", np.zeros(INNER).astype(FP8)), "up_wd", "zero-point", "type of the data", "nobody"
    ),
    "zero point as an input": Broken(
        "w8a8",
        from_outside("normed_z", TensorProto.INT8),
        "normed_q",
        "zero-point",
        "constant",
        "builder",
    ),
    "INT32 bias": Broken("w8a8", int32_bias, "b_dq", "bias", "float", "parser"),
    "INT8 bias": Broken("w8a8", int8_bias, "b_dq", "bias", "float"),
    "INT8 bias of a Gemm": Broken("w8a8", int8_gemm_bias, "b_dq", "bias", "float"),
    "U8 weight": Broken("int8-weights", unsigned_weight, "up_wd", "quantized-type", "INT8", "parser"),
    "U8 activation": Broken("w8a8", put("normed_z", np.uint8(0)), "normed_q", "quantized-type", "INT8"),
    "INT16 activation": Broken(
        "w8a8", put("normed_z", np.int16(0)), "normed_q", "quantized-type", "INT8", "parser"
    ),
    "no zero point": Broken("w8a8", no_zero_point, "normed_q", "quantized-type", "zero point of 0"),
    "operator": Broken(
        "fp16", lambda e: setattr(e.node("gelu"), "op_type", "Bernoulli"), "gelu", "operator", NEW, "parser"
    ),
    "foreign operator": Broken("fp16", foreign("FastGelu"), "gelu", "domain", NEW, "parser"),
    "foreign operator of a known name": Broken("fp16", foreign("Gelu"), "gelu", "domain", NEW),
    "old opset": Broken("fp16", lambda e: setattr(e, "opset", 8), "encoder", "opset", "9 to 24", "parser"),
    "new opset": Broken("fp16", lambda e: setattr(e, "opset", 25), "encoder", "opset", "9 to 24"),
    "axis of MatMul": Broken(
        "w8a8", lambda e: e.axis("up", 0, np.full(WIDTH, 0.01)), "up_wd", "axis", "axis 1"
    ),
    "axis of MatMul, weight only": Broken(
        "int8-weights", lambda e: e.axis("up", 0, np.full(WIDTH, 0.01)), "up_wd", "axis", "axis 1"
    ),
    "axis of Gemm": Broken(
        "w8a8", lambda e: e.axis("head", 1, np.full(WIDTH, 0.01)), "head_wd", "axis", "axis 0"
    ),
    "number of scales": Broken(
        "int8-weights",
        lambda e: e.axis("up", 1, np.full(WIDTH, 0.01)),
        "up_wd",
        "axis",
        "each channel",
        "parser",
    ),
    "scales in blocks": Broken("int8-weights", blocks, "up_wd", "axis", "one dimension"),
    "channels of an activation": Broken("w8a8", channels, "normed_q", "per-channel-activation", "one scale"),
    "float weight": Broken(
        "w8a8",
        lambda e: e.inputs_of("up_product", "normed_dq", e.tensor("w", e.ramp(WIDTH, INNER))),
        "up_product",
        "missing-qdq",
        "both",
    ),
    "float key": Broken(
        "w8a8", lambda e: e.inputs_of("scores", "query_dq", "turned"), "scores", "missing-qdq", "both"
    ),
    "INT8 by FP8": Broken("w8a8", fp8_weight, "up_product", "mixed-quantization", "one type", "builder"),
    "bias in FP32": Broken(
        "fp16", put("up_bias", np.zeros(INNER, np.float32)), "up", "one-type", "Cast", "parser"
    ),
    "weight in FP32": Broken(
        "fp16", put("up_w", np.ones((WIDTH, INNER), np.float32)), "up_product", "one-type", "Cast", "parser"
    ),
    "LayerNormalization in FP32": Broken(
        "fp16", put("norm_scale", np.ones(WIDTH, np.float32)), "normed", "one-type", "Cast", "parser"
    ),
    **{
        f"{name} of two types": Broken("fp16", cast_beside(name), "extra", "one-type", "Cast", "parser")
        for name in ("Add", "Sub", "Mul", "Div", "Max", "Equal", "Where")
    },
    "Concat of two types": Broken(
        "fp16", cast_beside("Concat", axis=0), "extra", "one-type", "Cast", "parser"
    ),
    "INT64 with INT32": Broken(
        "fp16",
        lambda e: e.extra("Mul", ["ids", e.tensor("two", np.int32(2))]),
        "extra",
        "one-type",
        "Cast",
        "parser",
    ),
    "Sqrt of INT64": Broken("fp16", extra("Sqrt", "ids"), "extra", "operand-type", "Cast to", "parser"),
    "Not of FP16": Broken("fp16", extra("Not", "normed"), "extra", "operand-type", "Cast to BOOL", "parser"),
    "Gather by FP16": Broken(
        "fp16", extra("Gather", "table", "mask_float"), "extra", "operand-type", "INT64", "parser"
    ),
    "FLOAT64": Broken("fp32", put("up_bias", np.zeros(INNER)), "up_bias", "float64", "FLOAT"),
    "INT16": Broken(
        "fp16",
        lambda e: e.extra("Cast", [e.tensor("c", np.int16(1))], to=TensorProto.INT32),
        "c",
        "data-type",
        "INT64",
        "parser",
    ),
    "Cast to U8": Broken(
        "fp16", extra("Cast", "ids", to=TensorProto.UINT8), "extra", "data-type", "INT64", "nobody"
    ),
    "negative scale": Broken(
        "w8a8", put("normed_s", HALF(-0.05)), "normed_q", "scale", "calibrate", "parser"
    ),
    "scale of 0": Broken("w8a8", put("normed_s", HALF(0)), "normed_q", "scale", "calibrate", "parser"),
    "infinite scale": Broken("w8a8", put("normed_s", HALF(np.inf)), "normed_q", "scale", "calibrate"),
    "scale as an input": Broken(
        "w8a8",
        from_outside("normed_s", TensorProto.FLOAT16),
        "normed_q",
        "scale",
        "constant",
    ),
    "scale of another type": Broken("w8a8", own_scale, "normed_q", "scale-type", "FLOAT16"),
    "moved before DequantizeLinear": Broken(
        "w8a8", turned_behind_quantize, "between", "quantized-reader", "DequantizeLinear"
    ),
    "quantized output": Broken(
        "w8a8", lambda e: e.outputs.append("normed_q"), "normed_q", "quantized-reader", "DequantizeLinear"
    ),
    "rows before DequantizeLinear": Broken(
        "w8a8", rows_before_dequantize, "hidden", "quantized-reader", "DequantizeLinear", "builder"
    ),
}


def transposed(e: Encoder) -> None:
    e.axis("up", 0, np.full(INNER, 0.01))
    e.tensor("up_w", e.tensors["up_w"].T.copy())
    e.add("Transpose", ["up_wd"], "up_wt", "up_product", perm=[1, 0])
    e.inputs_of("up_product", "normed_dq", "up_wt")


def weight_as_pair(e: Encoder) -> None:
    e.add("QuantizeLinear", [e.tensor("w", e.ramp(WIDTH, INNER)), "up_ws", "up_wz"], "up_wq", "up_wd", axis=1)
    e.node("up_wd").input[0] = "up_wq"


VALID: dict[str, tuple[str, Edit]] = {
    **{form: (form, lambda _: None) for form in ("fp32", "fp16", "bf16", "w8a8", "int8-weights", "fp8")},
    "w8a8 with one scale for a weight": ("w8a8", lambda e: e.axis("up", 1, np.array(0.01))),
    "w8a8 with a negative axis": ("w8a8", lambda e: e.axis("up", -1, np.full(INNER, 0.01))),
    "w8a8 with a transposed weight": ("w8a8", transposed),
    "w8a8 with a weight in a pair": ("w8a8", weight_as_pair),
    "w8a8 with a quantized residual": ("w8a8", lambda e: e.extra("Add", ["normed_dq", "normed"])),
    "Pow of two types": ("fp16", lambda e: e.extra("Pow", ["normed", e.tensor("two", np.float32(2))])),
}
GRAPHS = {**{name: (each.form, each.edit) for name, each in BROKEN.items()}, **VALID}


def proto_of(form: str, edit: Edit) -> ModelProto:
    encoder = Encoder(form)
    edit(encoder)
    return encoder.proto()


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_is_named_with_its_fix(case: Broken) -> None:
    (found,) = violations(ir.from_proto(proto_of(case.form, case.edit)))
    assert (found.node, found.rule) == (case.node, case.rule)
    assert case.fix in found.fix
    assert "\n" not in found.problem + found.fix


@pytest.mark.parametrize(("form", "edit"), VALID.values(), ids=VALID)
def test_a_valid_graph_passes(form: str, edit: Edit) -> None:
    model = ir.from_proto(proto_of(form, edit))
    assert violations(model) == ()
    require_valid(model)


def test_the_error_names_the_first_fault_and_counts_the_rest() -> None:
    encoder = Encoder("w8a8")
    encoder.tensor("normed_z", np.int8(3))
    model = ir.from_proto(encoder.proto())
    with pytest.raises(UnsupportedError) as raised:
        require_valid(model)
    assert raised.value.message == "TensorRT does not take 'normed_q': it has a zero point of 3"
    assert raised.value.hint == violations(model)[0].fix
    encoder.opset = 8
    with pytest.raises(UnsupportedError, match=r"'encoder': it is of opset 8, not 9 to 24 \(and 1 more\)"):
        require_valid(ir.from_proto(encoder.proto()))


def refused_by(data: bytes) -> str:
    """Which part of TensorRT-RTX refuses a graph; it builds for a GPU that need not be there."""
    pytest.importorskip("tensorrt_rtx_libs")
    import tensorrt_rtx_bindings as trt

    logger = trt.Logger(trt.Logger.INTERNAL_ERROR)
    builder = trt.Builder(logger)
    network, config = builder.create_network(0), builder.create_builder_config()
    if not trt.OnnxParser(network, logger).parse(data):
        return "parser"
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        if -1 in tuple(network.get_input(i).shape):
            profile.set_shape(network.get_input(i).name, (1, 4), (1, 4), (2, 8))
    config.add_optimization_profile(profile)
    return "builder" if builder.build_serialized_network(network, config) is None else "nobody"


@pytest.mark.parametrize("name", GRAPHS)
def test_tensorrt_takes_what_passes_and_refuses_nothing_else_unseen(name: str) -> None:
    proto = proto_of(*GRAPHS[name])
    refused = refused_by(proto.SerializeToString())
    assert refused == "nobody" or violations(ir.from_proto(proto))
    import tensorrt_rtx_bindings as trt

    if trt.__version__.startswith("1.7."):
        assert refused == (BROKEN[name].refused_by if name in BROKEN else "nobody")


def test_the_parser_knows_every_operator_of_the_list() -> None:
    pytest.importorskip("tensorrt_rtx_libs")
    import tensorrt_rtx_bindings as trt

    logger = trt.Logger(trt.Logger.ERROR)
    parser = trt.OnnxParser(trt.Builder(logger).create_network(0), logger)
    assert [name for name in sorted(OPERATORS) if not parser.supports_operator(name)] == []
