"""What a machine can do for a target, and why not what it cannot."""

from __future__ import annotations

from dataclasses import dataclass

from targets.bundle.device import check_target_gpu, finds_device
from targets.errors import IncompatibleError
from targets.inventory import NOT_INSTALLED, Inventory
from targets.spec import Evidence, Runtime, TargetSpec


@dataclass(frozen=True, slots=True)
class Ability:
    """What a machine can do for one target.

    Attributes:
        target: its id.
        compile: None if it can; else why not, with what mends it where something does.
        run: the same of running its bundles.
        emulate: the same of running them on an emulated CPU.
        evidence: the best that a validation here can show; None where it can show nothing.
    """

    target: str
    compile: str | None
    run: str | None
    emulate: str | None
    evidence: Evidence | None


def ability(spec: TargetSpec, here: Inventory) -> Ability:
    """What a machine can do for a target.

    Any host compiles for every target: what it has no device for is emulated or simulated.
    """
    build, run, emulate = _cannot_compile(spec, here), _cannot_run(spec, here), _cannot_emulate(spec, here)
    evidence: Evidence | None = None if build else "simulated"
    if run is None and shows(spec, here):
        evidence = "emulated" if here.machine.emulated else "measured"
    elif emulate is None:
        evidence = "emulated"
    return Ability(spec.id, build, run, emulate, evidence)


def shows(spec: TargetSpec, here: Inventory) -> bool:
    """Whether what runs here for a target computes what it does on the device."""
    return spec.gpu or bool(spec.devices) or here.machine.measures(spec)


def _cannot_run(spec: TargetSpec, here: Inventory) -> str | None:
    return (_no_gpu(spec, here) if spec.gpu else _differs(spec, here)) or _no_device(spec, here)


def _cannot_compile(spec: TargetSpec, here: Inventory) -> str | None:
    if here.missing_packages:
        return _not_installed(here.missing_packages, 'pip install "bertc[compile]"')
    names = [each.name for each in spec.runtimes]
    return None if "tensorrt" in names else _no_runtime(names, here)


def _cannot_emulate(spec: TargetSpec, here: Inventory) -> str | None:
    if spec.emulation is None:
        return "it cannot be emulated"
    found = next((each for each in here.emulators if each.id == spec.emulation), None)
    if found is None:
        return "emulators are the compiler's, and this is the device's part of bertc"
    return found.missing or None


def _no_gpu(spec: TargetSpec, here: Inventory) -> str | None:
    if not here.gpus.found:
        return here.gpus.reason or "there is no NVIDIA GPU"
    try:
        check_target_gpu(spec.compute_capabilities, spec.memory_mb, here.gpus)
    except IncompatibleError as error:
        return error.message
    return None


def _differs(spec: TargetSpec, here: Inventory) -> str | None:
    this = here.machine
    if spec.os != this.os or spec.arch not in (this.arch, "any"):
        return f"this is {this.os} on {this.arch}"
    lacking = this.missing_features(spec.cpu_features)
    if lacking:
        return "the CPU has no " + " and ".join(" or ".join(group) for group in lacking)
    if 0 < this.memory_mb < spec.memory_mb:
        return f"this has {this.memory_mb} MiB of memory, and it needs {spec.memory_mb}"
    return None


def _no_device(spec: TargetSpec, here: Inventory) -> str | None:
    missing = _no_runtime([each.name for each in spec.runtimes], here)
    found = here.runtimes["openvino"].devices
    for each in () if missing else spec.devices:
        if not finds_device(found, each):
            return f"OpenVINO finds no {each} here (it has: {', '.join(found) or 'none'})"
    return missing


def _no_runtime(names: list[Runtime], here: Inventory) -> str | None:
    """Why none of some runtimes can be used; None where one can."""
    states = {name: here.runtimes[name] for name in names}
    if any(state.version for state in states.values()):
        return None
    hint = states[names[0]].hint
    if all(state.problem == NOT_INSTALLED for state in states.values()):
        return _not_installed(tuple(names), hint)
    return "; ".join(f"{name}: {state.problem}" for name, state in states.items()) + f": {hint}"


def _not_installed(names: tuple[str, ...], hint: str) -> str:
    listed = f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
    return f"{listed} {'are' if len(names) > 1 else 'is'} {NOT_INSTALLED}: {hint}"
