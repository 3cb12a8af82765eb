"""From the float IR and a plan to a strongly typed ONNX graph that TensorRT 10, 11 and TensorRT-RTX read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

import onnx_ir as ir

from compiler.ir.attention import to_primitives
from compiler.ir.edit import sweep
from compiler.ir.execute import clone, serialize
from compiler.lower.artifact import Artifact, Census
from compiler.lower.biases import lower_biases
from compiler.lower.clean import strip
from compiler.lower.tensorrt.qdq import write_plan
from compiler.lower.tensorrt.rules import require_valid
from compiler.lower.tensorrt.types import set_types
from compiler.quantize.plan import QuantPlan
from targets.bundle.schema import EngineRecord, EngineVariant
from targets.errors import InternalError, UnsupportedError
from targets.spec import GPU_RUNTIMES, Precision, RuntimeProfile, ShapeRange, TargetSpec

FILE: Final = "model/model.onnx"
FLOAT_FILE: Final = "model/model-fp16.onnx"
OPSET: Final = 20
"""The newest that TensorRT 10.0 reads; Gelu and FP16 scales need no less."""
MINIMUM_VERSIONS: Final = {"tensorrt": "10.0", "tensorrt-rtx": "1.0"}
_COMPUTE: Final = {"fp32": ir.DataType.FLOAT, "bf16": ir.DataType.BFLOAT16}
_UNSEEN: Final = "no engine was inspected, which takes the GPU"
PLACEMENTS: Final[Mapping[Precision, str]] = {
    "int8": f"INT8 products are asked for at every linear layer; {_UNSEEN}",
    "int8-weights": "weights are INT8 in the engine and dequantized for float products, as NVIDIA's support "
    f"matrix lists them; {_UNSEEN}",
    "fp8": f"FP8 products are asked for at every linear layer; {_UNSEEN}",
    "bf16": "every product in BF16",
    "fp16": "every product in FP16",
    "fp32": "every product in FP32",
}
_FIRST_FP8: Final = (8, 9)


def lower(
    model: ir.Model,
    plan: QuantPlan,
    precision: Precision,
    *,
    target: TargetSpec,
    profile: RuntimeProfile,
    max_length: int,
) -> Artifact:
    """Write the graphs of a target's bundle: the precision asked for, and FP16 to compare it with.

    An engine is not built here: `compiler.lower.tensorrt.engine` does that for TensorRT-RTX, and the device
    itself for TensorRT, which then measures which of the two graphs is faster.

    Args:
        model: the float IR; it is not changed.
        plan: from the quantizer, empty for a float precision.
        precision: "int8" (W8A8), "int8-weights", "fp8", "fp16", "bf16" or "fp32".
        target: whose GPUs must have the precision.
        profile: the runtime.
        max_length: tokens that the model reads.

    Raises:
        UnsupportedError: a precision that the runtime or the GPU lacks, a graph that breaks one of
            TensorRT's rules, or a model that reads more tokens than the target's shapes hold.
    """
    check_precision(precision, target, profile)
    shapes = _shapes(target, max_length)
    compute = _COMPUTE.get(precision, ir.DataType.FLOAT16)
    files = {FILE: typed_graph(model, plan, compute, residual=profile.scheme.residual == "s8")}
    variants = [EngineVariant(precision, FILE)]
    if profile.name == "tensorrt" and precision in ("int8", "int8-weights", "fp8"):
        files[FLOAT_FILE] = typed_graph(model, QuantPlan(), ir.DataType.FLOAT16)
        variants.append(EngineVariant("fp16", FLOAT_FILE))
    engine = EngineRecord(
        shapes=shapes,
        variants=tuple(variants),
        compute_capabilities=(),
        workspace_mb=target.memory_mb // 2,
        placement=PLACEMENTS[precision],
    )
    least, census = MINIMUM_VERSIONS[profile.name], _census(files[FILE])
    return Artifact(profile.name, FILE, files, least, {}, census, precision, engine)


def check_precision(precision: Precision, target: TargetSpec, profile: RuntimeProfile) -> None:
    """Refuse what a target's runtime or GPU has no kernels for; a CPU's lowering says that itself.

    Raises:
        UnsupportedError: naming what has them.
    """
    if profile.name not in GPU_RUNTIMES:
        return
    if precision == "int8-dynamic":
        raise UnsupportedError(
            f"{profile.name} does not quantize activations on each run",
            "use --precision int8 with --calibration-data, or int8-weights, which needs none",
        )
    if precision == "int8" and profile.scheme.form != "int8":
        raise UnsupportedError(
            f"{profile.name} is not known to have INT8 products", f"use --precision {profile.scheme.form}"
        )
    if precision == "fp8":
        old = [each for each in target.compute_capabilities if _numbers(each) < _FIRST_FP8]
        if old:
            raise UnsupportedError(
                f"compute capability {old[0]} of {target.id} has no FP8 products, which begin with 8.9",
                "use --precision int8-weights or fp16",
            )
    if precision == "bf16" and any(_numbers(each) < (8, 0) for each in target.compute_capabilities):
        raise UnsupportedError(
            f"{target.id} has no bfloat16, which begins with compute capability 8.0", "use --precision fp16"
        )


def typed_graph(model: ir.Model, plan: QuantPlan, compute: ir.DataType, *, residual: bool = False) -> bytes:
    """The ONNX bytes of one form; every value has one type, and casts say where it changes.

    Args:
        model: the float IR; it is not changed.
        plan: empty for a float precision.
        compute: FLOAT16, BFLOAT16 or FLOAT.
        residual: as for `compiler.lower.tensorrt.qdq.write_plan`.

    Raises:
        UnsupportedError: the graph breaks one of TensorRT's rules.
    """
    copy = clone(model)
    lower_biases(copy, plan)
    to_primitives(copy)
    write_plan(copy, plan, compute, residual=residual)
    set_types(copy, compute)
    sweep(copy.graph)
    copy.opset_imports.clear()
    copy.opset_imports[""] = OPSET
    copy.ir_version = 10
    copy.producer_name, copy.producer_version = "bertc", None
    strip(copy)
    require_valid(copy)
    return serialize(copy)


def _shapes(target: TargetSpec, max_length: int) -> ShapeRange:
    shapes = target.shapes
    if shapes is None:
        raise InternalError(f"{target.id} has no shapes to build an engine for")
    longest = shapes.max[1]
    if max_length > longest:
        raise UnsupportedError(
            f"the model reads {max_length} tokens, and engines for {target.id} take up to {longest}",
            f"pass --max-length {longest}, or a target of your own with other shapes",
        )
    return shapes.within(max_length)


def _census(data: bytes) -> Census:
    import onnx

    model = ir.from_proto(onnx.ModelProto.FromString(data))
    return Census(Counter(node.op_type for node in model.graph))


def _numbers(capability: str) -> tuple[int, int]:
    major, minor = capability.split(".")
    return int(major), int(minor)
