"""Whether a machine can run a bundle."""

from __future__ import annotations

import importlib.util
import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from targets.bundle.schema import RuntimeSpec, TargetRecord
from targets.detect import Machine
from targets.detect import machine as this_machine
from targets.errors import IncompatibleError, MissingBackendError

_DISTRIBUTIONS: Final = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    "openvino": ("openvino", "openvino-nightly"),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt-rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"),
}
_NUMBERS: Final = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def check_device(target: TargetRecord, runtime: RuntimeSpec, machine: Machine | None = None) -> None:
    """Check a machine against what a bundle was compiled for.

    Args:
        target: the device of the bundle.
        runtime: the backend of the bundle.
        machine: the machine; None is the one that runs.

    Raises:
        IncompatibleError: other architecture, operating system or CPU features, too little memory,
            or a backend that is too old.
        MissingBackendError: the backend is not installed.
    """
    found = machine or this_machine()
    another = "compile the model for this device: `bertc compile --target native`, or see `bertc targets`"
    if target.os != found.os or target.arch not in (found.arch, "any"):
        raise IncompatibleError(
            f"the bundle is for {target.os} on {target.arch}, this is {found.os} on {found.arch}", another
        )
    missing = found.missing_features(target.cpu_features)
    if missing:
        groups = " and ".join(" or ".join(group) for group in missing)
        raise IncompatibleError(
            f"the CPU ({found.cpu_model}) has no {groups}, which the bundle needs", another
        )
    if 0 < found.memory_mb < target.memory_mb:
        raise IncompatibleError(
            f"the bundle needs a device with {target.memory_mb} MiB of memory, this has {found.memory_mb}",
            another,
        )
    check_backend(runtime)


def check_backend(runtime: RuntimeSpec) -> None:
    """Check that the backend is installed and new enough.

    Raises:
        MissingBackendError: not installed.
        IncompatibleError: older than the bundle's minimum version.
    """
    install = f'pip install "bertc[{runtime.backend}]"'
    if importlib.util.find_spec(runtime.backend) is None:
        raise MissingBackendError(f"{runtime.backend}, which runs this bundle, is not installed", install)
    installed = backend_version(runtime.backend)
    if release(installed) < release(runtime.minimum_version):
        raise IncompatibleError(
            f"{runtime.backend} {installed} is older than {runtime.minimum_version}, which the bundle needs",
            f'pip install --upgrade "{runtime.backend}>={runtime.minimum_version}"',
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
        raise MissingBackendError(
            f"{backend} cannot be imported: {error}", f'pip install "bertc[{backend}]"'
        ) from error


def release(text: str) -> tuple[int, ...]:
    """The numbers that a version begins with, without zeros at the end: "1.20.0rc1" is (1, 20)."""
    match = _NUMBERS.match(text)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
