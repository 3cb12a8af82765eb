"""What a bundle needs of a machine, what the machine has, and which target would fit it instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from targets.bundle import device
from targets.bundle.schema import EngineRecord, RuntimeSpec, TargetRecord
from targets.detect import Machine
from targets.errors import BertcError, IncompatibleError

_BACKEND: Final = "backend"
_DEVICE: Final = "device"
DRIVERS: Final = {
    "GPU": "install Intel's compute runtime for the GPU (intel-opencl-icd)",
    "NPU": "install Intel's NPU driver (github.com/intel/linux-npu-driver), on Linux 6.6 or later",
}
"""What to do where OpenVINO does not find a device that is there."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One thing that a bundle needs.

    Attributes:
        name: of the thing.
        needs: what the bundle needs of it.
        has: what the machine has of it.
        ok: whether that is enough.
        problem: what is wrong, a clause; empty if nothing is.
        hint: what would mend it, a clause; empty if nothing would on this machine.
    """

    name: str
    needs: str
    has: str
    ok: bool
    problem: str = ""
    hint: str = ""


def device_report(
    target: TargetRecord,
    runtime: RuntimeSpec,
    machine: Machine | None = None,
    engine: EngineRecord | None = None,
) -> tuple[Requirement, ...]:
    """Everything that a bundle needs, the cheap things first; no model is read.

    Args:
        target: the device of the bundle.
        runtime: the backend of the bundle.
        machine: the machine; None is the one that runs.
        engine: of a bundle for TensorRT.
    """
    here = machine or device.this_machine()
    found = [
        _equal("system", target.os, here.os),
        _equal("architecture", target.arch, here.arch),
        _features(target, here),
        _memory(target, here) if engine is None else _gpu(target, engine),
        _backend(runtime),
    ]
    if runtime.device != "CPU":
        found.append(_openvino_device(runtime, usable=found[-1].ok))
    return tuple(found)


def check_device(
    target: TargetRecord,
    runtime: RuntimeSpec,
    machine: Machine | None = None,
    *,
    engine: EngineRecord | None = None,
) -> None:
    """Check a machine against what a bundle was compiled for.

    Args:
        target: the device of the bundle.
        runtime: the backend of the bundle.
        machine: the machine; None is the one that runs.
        engine: of a bundle for TensorRT.

    Raises:
        IncompatibleError: other architecture, operating system, CPU features, GPU or device of OpenVINO, too
            little memory, or a backend that is too old, or for an engine another one than built it; the
            message names all of it.
        MissingBackendError: the backend is not installed, and all else is there.
    """
    here = machine or device.this_machine()
    failed = [each for each in device_report(target, runtime, here, engine) if not each.ok]
    if not failed:
        return
    if _needs_backend_alone(failed):
        device.check_backend(runtime)
    hints = [each.hint for each in failed if each.hint] + [compile_instead(failed, target, here)]
    raise IncompatibleError("; ".join(each.problem for each in failed), ", or ".join(dict.fromkeys(hints)))


def target_instead(report: Sequence[Requirement], target: TargetRecord, machine: Machine) -> str | None:
    """The id of the target to compile for instead; None where none other fits, or none is needed.

    Args:
        report: what the bundle needs; its backend can be installed, all else calls for another target.
        target: of the bundle.
        machine: that was reported on.
    """
    from targets.registry import detect_native

    if all(each.ok for each in report) or _needs_backend_alone(report):
        return None
    try:
        native = detect_native(machine)
    except IncompatibleError:
        return None
    too_small = 0 < machine.memory_mb < native.memory_mb
    return None if too_small or native.id == target.id else native.id


def compile_instead(report: Sequence[Requirement], target: TargetRecord, machine: Machine) -> str:
    """A clause that says what to do where a machine cannot run a bundle; arguments as of `target_instead`."""
    if _needs_backend_alone(report):
        return "install the backend that it needs"
    name = target_instead(report, target, machine)
    if name is None:
        return "no other target fits this machine: run the bundle on another one"
    return f"compile the model for this machine: bertc compile MODEL --target {name}"


def _needs_backend_alone(report: Sequence[Requirement]) -> bool:
    """Whether installing the backend is all there is to do; without it, its devices are not known."""
    missing = {each.name for each in report if not each.ok}
    return _BACKEND in missing and missing <= {_BACKEND, _DEVICE}


def _equal(name: str, needs: str, has: str) -> Requirement:
    ok = needs in (has, "any")
    return Requirement(name, needs, has, ok, "" if ok else f"the bundle is for {needs}, this is {has}")


def _features(target: TargetRecord, here: Machine) -> Requirement:
    groups = target.cpu_features
    named = sorted({flag for group in groups for flag in group} & here.cpu_features)
    missing = here.missing_features(groups)
    return Requirement(
        "CPU features",
        _groups(groups) or "none",
        f"{', '.join(named) or 'none of them'} ({here.cpu_model})" if groups else here.cpu_model,
        not missing,
        f"the CPU ({here.cpu_model}) has no {_groups(missing)}, which the bundle needs" if missing else "",
    )


def _groups(groups: Sequence[Sequence[str]]) -> str:
    """All of (any of), in words."""
    words = [" or ".join(group) for group in groups]
    if len(words) > 1:
        words = [f"({each})" if " or " in each else each for each in words]
    return " and ".join(words)


def _memory(target: TargetRecord, here: Machine) -> Requirement:
    ok = not 0 < here.memory_mb < target.memory_mb
    return Requirement(
        "memory",
        f"{target.memory_mb} MiB",
        f"{here.memory_mb} MiB" if here.memory_mb else "not known",
        ok,
        ""
        if ok
        else f"the bundle needs a device with {target.memory_mb} MiB of memory, this has {here.memory_mb}",
        "" if ok else "raise the memory limit, or compile a smaller model (--prune-flops)",
    )


def _gpu(target: TargetRecord, engine: EngineRecord) -> Requirement:
    present = device.gpus()
    capabilities = " or ".join(engine.compute_capabilities or target.compute_capabilities) or "any"
    first = present.found[0] if present.found else None
    has = present.reason or "none"
    if first is not None:
        has = f"{first.name}, compute capability {first.compute_capability}, {first.memory_mb} MiB"
    needs = f"NVIDIA, compute capability {capabilities}, {target.memory_mb} MiB"
    try:
        device.check_gpu(target, engine, present)
    except IncompatibleError as error:
        return Requirement("GPU", needs, has, False, error.message, error.hint)
    return Requirement("GPU", needs, has, True)


def _backend(runtime: RuntimeSpec) -> Requirement:
    name = runtime.backend
    exact = runtime.model.endswith(".engine")
    needs = f"{name} {runtime.tested_version if exact else f'{runtime.minimum_version} or later'}"
    try:
        has = f"{name} {device.backend_version(name)}" if device.is_installed(name) else "not installed"
        device.check_backend(runtime)
    except BertcError as error:
        installed = has if isinstance(error, IncompatibleError) else "not installed"
        return Requirement(_BACKEND, needs, installed, False, error.message, error.hint)
    return Requirement(_BACKEND, needs, has, True)


def _openvino_device(runtime: RuntimeSpec, *, usable: bool) -> Requirement:
    wanted = runtime.device
    if not usable:
        problem = f"whether OpenVINO finds a device {wanted} is not known without it"
        return Requirement(
            _DEVICE, f"OpenVINO's {wanted}", f"not known without {runtime.backend}", False, problem
        )
    found = device.openvino_devices()
    listed = ", ".join(found) or "none"
    if device.finds_device(found, wanted):
        return Requirement(_DEVICE, f"OpenVINO's {wanted}", listed, True)
    problem = f"OpenVINO finds no {wanted} here (it has: {listed})"
    return Requirement(_DEVICE, f"OpenVINO's {wanted}", listed, False, problem, DRIVERS[wanted])
