"""The GPUs, backends and devices that a bundle may need, and whether they are there."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from targets.bundle.schema import EngineRecord, RuntimeSpec, TargetRecord
from targets.detect import machine as this_machine
from targets.errors import IncompatibleError, MissingBackendError
from targets.gpu import Gpus, gpus
from targets.spec import Device

__all__ = [
    "backend_version",
    "check_backend",
    "check_gpu",
    "check_target_gpu",
    "finds_device",
    "gpus",
    "install_hint",
    "is_installed",
    "openvino_devices",
    "release",
    "this_machine",
]

_DISTRIBUTIONS: Final = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    "openvino": ("openvino", "openvino-nightly"),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
}
_INSTALL: Final = {
    "tensorrt": "install TensorRT's Python package: it comes with JetPack, or from NVIDIA's package index",
    "tensorrt-rtx": 'pip install "bertc[tensorrt-rtx]" (x86-64 Linux)',
}
_PACKAGES: Final = {"tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
_NUMBERS: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def check_gpu(target: TargetRecord, engine: EngineRecord, present: Gpus) -> None:
    """Check the GPU that CUDA numbers first, on which engines run.

    An engine holds native code for the compute capabilities that it was built for; NVIDIA promises nothing
    on others.

    Args:
        target: the device of the bundle.
        engine: what the bundle says of its engines.
        present: the GPUs that are there.

    Raises:
        IncompatibleError: as `check_target_gpu`.
    """
    wanted = engine.compute_capabilities or target.compute_capabilities
    check_target_gpu(wanted, target.memory_mb, present)


def check_target_gpu(wanted: Sequence[str], memory_mb: int, present: Gpus) -> None:
    """Check the GPU that CUDA numbers first against what a target needs.

    Args:
        wanted: compute capabilities, one of which it must have; empty for any.
        memory_mb: its memory, at least, in MiB.
        present: the GPUs that are there.

    Raises:
        IncompatibleError: no GPU, another compute capability, or too little memory.
    """
    named = f"a GPU of compute capability {' or '.join(wanted)}" if wanted else "an NVIDIA GPU"
    if not present.found:
        raise IncompatibleError(
            f"it needs {named}, and {present.reason or 'there is none'}",
            "run it on that device; `bertc validate` simulates it here",
        )
    first = present.found[0]
    if wanted and first.compute_capability not in wanted:
        raise IncompatibleError(
            f"it needs {named}, and {first.name} has {first.compute_capability}",
            "compile the model for this GPU: see `bertc targets`, or use --target nvidia-generic",
        )
    if 0 < first.memory_mb < memory_mb:
        raise IncompatibleError(
            f"it needs {memory_mb} MiB of GPU memory, and {first.name} has {first.memory_mb}",
            "compile a smaller model for it",
        )


def is_installed(runtime: str) -> bool:
    """Whether a runtime's package can be found; it is not imported."""
    return any(importlib.util.find_spec(each) is not None for each in _PACKAGES.get(runtime, (runtime,)))


def install_hint(runtime: str) -> str:
    """What installs a runtime."""
    return _INSTALL.get(runtime, f'pip install "bertc[{runtime}]"')


def check_backend(runtime: RuntimeSpec) -> None:
    """Check that the backend is installed and new enough.

    Raises:
        MissingBackendError: not installed.
        IncompatibleError: older than the bundle's minimum version, or another than built its engine.
    """
    if not is_installed(runtime.backend):
        raise MissingBackendError(
            f"{runtime.backend}, which runs this bundle, is not installed", install_hint(runtime.backend)
        )
    installed = backend_version(runtime.backend)
    if release(installed) < release(runtime.minimum_version):
        raise IncompatibleError(
            f"{runtime.backend} {installed} is older than {runtime.minimum_version}, which the bundle needs",
            f'pip install --upgrade "{runtime.backend}>={runtime.minimum_version}"',
        )
    if runtime.model.endswith(".engine") and release(installed)[:3] != release(runtime.tested_version)[:3]:
        raise IncompatibleError(
            f"the engine was built by {runtime.backend} {runtime.tested_version}, this is {installed}",
            f'pip install "{runtime.backend}=={runtime.tested_version}", or compile again with this one',
        )


def backend_version(backend: str) -> str:
    """Version of an installed backend, without importing it where its package says it.

    Raises:
        MissingBackendError: no package says it, and the backend cannot be imported.
    """
    for distribution in _DISTRIBUTIONS.get(backend, (backend,)):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    try:
        return str(import_module(backend).__version__)
    except (ImportError, AttributeError) as error:
        raise MissingBackendError(f"{backend} cannot be imported: {error}", install_hint(backend)) from error


def openvino_devices() -> tuple[str, ...]:
    """The devices that OpenVINO finds here, as in ("CPU", "GPU.0", "NPU"); none where it does not start.

    Raises:
        MissingBackendError: OpenVINO cannot be imported.
    """
    try:
        openvino = import_module("openvino")
    except ImportError as error:
        raise MissingBackendError(
            f"openvino cannot be imported: {error}", install_hint("openvino")
        ) from error
    try:
        return tuple(openvino.Core().available_devices)
    except RuntimeError:  # a plugin or driver that fails to load
        return ()


def finds_device(found: Sequence[str], wanted: Device) -> bool:
    """Whether a device is among those that OpenVINO finds, which numbers several of a kind: "GPU.1"."""
    return any(each.split(".", 1)[0] == wanted for each in found)


def release(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with, without zeros at the end: "1.20.0rc1" is (1, 20)."""
    match = _NUMBERS.match(text)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
