"""Why a runtime computes in float what a plan calls INT8: the known reasons, and the way out of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from targets.spec import Runtime

STATIC_DIMS: Final = "static-dims"
SHARED_S8: Final = "shared-s8"
FLOAT_BIAS_GEMM: Final = "float-bias-gemm"
UNSIGNED_WEIGHTS: Final = "unsigned-weights"
ATTENTION_ZERO_POINT: Final = "attention-zero-point"
WIDE_GROUP: Final = "wide-group"
FLOAT_ACTIVATIONS: Final = "float-activations"
NO_INT8_KERNEL: Final = "no-int8-kernel"


@dataclass(frozen=True, slots=True)
class Trap:
    """A reason, seen in what the runtime made of a model.

    Attributes:
        reason: completes "... because"; one line.
        way_out: what to do, with the flag.
    """

    reason: str
    way_out: str


TRAPS: Final[dict[Runtime, dict[str, Trap]]] = {
    "onnxruntime": {
        STATIC_DIMS: Trap(
            "with fixed dimensions, or a matrix as input, MatMulAddFusion makes a float Gemm of it",
            "export the model with dynamic batch and sequence axes, or use --runtime openvino",
        ),
        SHARED_S8: Trap(
            "several products share one S8 input, which it re-encodes as U8 for a single reader only",
            "use a target whose activations are u8 with --target, or --runtime openvino",
        ),
        FLOAT_BIAS_GEMM: Trap(
            "it is a Gemm with a float bias and no quantized output, for which it has no INT8 kernel",
            "export the layer as MatMul and Add, or use --runtime openvino",
        ),
    },
    "openvino": {
        UNSIGNED_WEIGHTS: Trap(
            "its weights are U8, and the plugin has INT8 kernels for S8 weights alone",
            "use a target whose weights are s8 with --target, or --runtime onnxruntime",
        ),
        ATTENTION_ZERO_POINT: Trap(
            "an operand of the attention has a zero point, and the plugin wants S8 around zero there",
            "use a target whose attention products are s8 or float with --target, or --runtime onnxruntime",
        ),
        WIDE_GROUP: Trap(
            "it reads fewer channels than DYNAMIC_QUANTIZATION_GROUP_SIZE, and then stays in float",
            "use --precision int8 with --calibration-data, or --runtime onnxruntime",
        ),
        FLOAT_ACTIVATIONS: Trap(
            "its activations reach it in float, not quantized",
            "calibrate with --precision int8, or use --runtime onnxruntime",
        ),
        NO_INT8_KERNEL: Trap(
            "the plugin has no INT8 kernel for it on this CPU or under its INFERENCE_PRECISION_HINT",
            "compile on a CPU with VNNI, or use --runtime onnxruntime",
        ),
    },
}
