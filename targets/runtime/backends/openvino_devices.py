"""What each of OpenVINO's devices is asked for when a model is compiled on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from targets.runtime.backends.base import check_options
from targets.spec import Device

_YES_NO: Final = frozenset({"YES", "NO"})
_COMMON: Final[Mapping[str, frozenset[str] | None]] = {
    "EXECUTION_MODE_HINT": frozenset({"ACCURACY", "PERFORMANCE"}),
    "PERFORMANCE_HINT": frozenset({"LATENCY", "THROUGHPUT"}),
}

ALLOWED_OPTIONS: Final[Mapping[Device, Mapping[str, frozenset[str] | None]]] = {
    "CPU": {
        **_COMMON,
        "CPU_DENORMALS_OPTIMIZATION": _YES_NO,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": None,
        "ENABLE_CPU_PINNING": _YES_NO,
        "ENABLE_HYPER_THREADING": _YES_NO,
        "INFERENCE_PRECISION_HINT": frozenset({"f32", "bf16", "f16"}),
        "KV_CACHE_PRECISION": frozenset({"f32", "bf16", "f16", "u8"}),
        "NUM_STREAMS": None,
        "SCHEDULING_CORE_TYPE": frozenset({"ANY_CORE", "PCORE_ONLY", "ECORE_ONLY"}),
    },
    "GPU": {
        **_COMMON,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": None,
        "INFERENCE_PRECISION_HINT": frozenset({"f32", "f16"}),
    },
    "NPU": {**_COMMON, "INFERENCE_PRECISION_HINT": frozenset({"f16"})},
}

_DEFAULTS: Final[Mapping[Device, Mapping[str, str]]] = {
    "CPU": {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        # Left to itself the plugin computes in bfloat16 or float16 where the CPU has them, unvalidated.
        "INFERENCE_PRECISION_HINT": "f32",
    },
    "GPU": {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f16"},
    "NPU": {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f16"},
}


# Kernels that the CPU keeps for shapes it has seen. The plugin's own 5,000 are gigabytes over texts of many
# lengths and batches, and no faster than a few hundred.
_CACHED_KERNELS: Final = "256"


def compile_properties(
    device: Device, options: Mapping[str, str], threads: int, streams: int = 1
) -> dict[str, str]:
    """The properties to compile a model with.

    Args:
        device: that the model is compiled on.
        options: each on the device's list in `ALLOWED_OPTIONS`; they override the defaults, which are the
            latency hint and float32 on the CPU, float16 elsewhere.
        threads: of the CPU's streams together; other devices are not told.
        streams: runs that the CPU computes side by side; likewise.

    Raises:
        UnsupportedError: an option off the list.
    """
    check_options(
        f"openvino on {device}" if device != "CPU" else "openvino", options, ALLOWED_OPTIONS[device]
    )
    properties = {**_DEFAULTS[device], **options}
    if device == "CPU":
        properties["INFERENCE_NUM_THREADS"] = str(threads)
        properties["CPU_RUNTIME_CACHE_CAPACITY"] = _CACHED_KERNELS
        if streams > 1:
            properties["NUM_STREAMS"] = str(streams)
    return properties
