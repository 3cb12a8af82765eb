"""What a compile computed with, as far as it decides the bytes that come out."""

from __future__ import annotations

import dataclasses
import hashlib
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from targets.bundle.strict_json import canonical_json
from targets.detect import machine
from targets.spec import TargetSpec

_TOOLS: Final = (
    "bertc",
    "torch",
    "transformers",
    "onnx",
    "onnx-ir",
    "onnxscript",
    "onnxruntime",
    "openvino",
    "tensorrt-rtx-cu13-bindings",
    "numpy",
    "tokenizers",
)
_VECTORS: Final = frozenset(
    {"avx", "avx2", "fma", "avx_vnni", "avx_vnni_int8", "amx_int8", "amx_bf16", "amx_fp16"}
    | {"avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"}
    | {"asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"}
)
"""CPU features by which numpy and the runtimes choose their kernels, which round in their own ways."""


def tool_versions() -> dict[str, str]:
    """The release of every package that takes part, by its name; those not installed are left out."""
    found = {}
    for tool in _TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def cpu_record() -> dict[str, Any]:
    """The architecture, and the features by which kernels are chosen."""
    here = machine()
    return {"arch": here.arch, "features": sorted(_VECTORS & here.cpu_features)}


def target_digest(target: TargetSpec) -> str:
    """SHA-256, in hexadecimal, of what a target says of the bytes to build; its words and times are not."""
    runtimes = [dataclasses.replace(each, why=()) for each in target.runtimes]
    content = {
        "arch": target.arch,
        "cpu_features": target.cpu_features,
        "runtimes": [dataclasses.asdict(each) for each in runtimes],
        "compute_capabilities": target.compute_capabilities,
        "shapes": None if target.shapes is None else dataclasses.asdict(target.shapes),
        "memory_mb": target.memory_mb,
    }
    return hashlib.sha256(canonical_json(content)).hexdigest()
