"""What `bertc doctor` prints: what a machine has, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from targets.abilities import Ability, ability
from targets.bundle.requirements import DRIVERS
from targets.cli.doctor_table import table
from targets.errors import IncompatibleError
from targets.inventory import Inventory
from targets.registry import detect_native, list_targets
from targets.runtime.energy.base import Availability
from targets.spec import DOT_PRODUCTS

_WIDTH: Final = 10
_FEATURES: Final = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    **dict.fromkeys(("avx512_vnni", "avx_vnni", "avx_vnni_int8"), "8-bit dot products"),
    **dict.fromkeys(("amx_int8", "i8mm"), "8-bit matrix products"),
    **dict.fromkeys(("avx512_bf16", "amx_bf16", "bf16"), "bfloat16 products"),
    "asimd": "NEON",
    "asimddp": "8-bit dot products",
    "asimdhp": "16-bit floats",
}
"""What Linux's names of CPU features mean, of those that matter here."""


def lines(here: Inventory) -> Iterator[str]:
    """The lines for people."""
    yield from _section("machine", _machine(here))
    yield from _section("runtimes", _runtimes(here))
    yield from _section("GPUs", _gpus(here))
    yield from _section("energy", _energy(here.energy))
    yield from _section("emulators", _emulators(here))
    yield from _section("compiler", _compiler(here))
    yield ""
    yield from table([ability(spec, here) for spec in list_targets()], here)


def document(here: Inventory) -> dict[str, Any]:
    """All of it, ready for JSON; docs/schemas/doctor.schema.json describes it."""
    this = here.machine
    return {
        "machine": {
            "os": this.os,
            "arch": this.arch,
            "cpu": this.cpu_model,
            "features": _named_features(here),
            "cores": this.cores,
            "memory_mb": this.memory_mb,
            "board": this.board or None,
            "emulated": this.emulated or None,
            "native": _native(here),
        },
        "gpus": [
            {"name": gpu.name, "compute_capability": gpu.compute_capability, "memory_mb": gpu.memory_mb}
            for gpu in here.gpus.found
        ],
        "no_gpu": here.gpus.reason or None,
        "driver": here.gpus.driver or None,
        "runtimes": {name: state.version for name, state in here.runtimes.items()},
        "openvino_devices": list(here.runtimes["openvino"].devices),
        "missing_packages": list(here.missing_packages),
        "energy": [
            {
                "kind": each.kind,
                "source": None if each.source is None else each.source.name,
                "present": each.present,
                "reason": each.reason or None,
            }
            for each in here.energy
        ],
        "emulators": [{**asdict(each), "missing": each.missing or None} for each in here.emulators],
        "targets": [_target(each) for each in (ability(spec, here) for spec in list_targets())],
    }


def _target(found: Ability) -> dict[str, Any]:
    return {
        "id": found.target,
        "compile": found.compile,
        "run": found.run,
        "emulate": found.emulate,
        "evidence": found.evidence or "none",
    }


def _section(name: str, told: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(told):
        yield f"{'' if number else name:<{_WIDTH}} {line}"


def _machine(here: Inventory) -> Iterator[str]:
    this = here.machine
    memory = f"{this.memory_mb} MiB of memory" if this.memory_mb else "memory not known"
    cores = f"{this.cores} core" + ("s" if this.cores > 1 else "")
    yield f"{this.os} on {this.arch}: {this.cpu_model}, {cores}, {memory}"
    if this.board:
        yield this.board
    if this.emulated:
        yield f"emulated: QEMU stands in for a {this.emulated}, and times mean nothing"
    names = _named_features(here)
    meant = {
        _FEATURES[name]: [each for each in names if _FEATURES[each] == _FEATURES[name]] for name in names
    }
    told = [f"{meaning} ({', '.join(found)})" for meaning, found in meant.items()]
    if this.arch in ("x86_64", "aarch64") and not {*DOT_PRODUCTS, "asimddp"} & this.cpu_features:
        told.append("no 8-bit dot products")
    yield ", ".join(told) or "CPU features not known"
    native = _native(here)
    yield f"--target native is {native}" if native else "no target fits it: --target native is refused"


def _named_features(here: Inventory) -> list[str]:
    return [name for name in _FEATURES if name in here.machine.cpu_features]


def _native(here: Inventory) -> str | None:
    try:
        return detect_native(here.machine).id
    except IncompatibleError:
        return None


def _runtimes(here: Inventory) -> Iterator[str]:
    width = max(map(len, here.runtimes))
    for name, state in here.runtimes.items():
        on = f", finds: {', '.join(state.devices) or 'no device'}" if name == "openvino" else ""
        yield f"{name:<{width}}  " + (
            f"{state.version}{on}" if state.version else f"{state.problem}: {state.hint}"
        )


def _gpus(here: Inventory) -> Iterator[str]:
    present = here.gpus
    for gpu in present.found:
        capability = f"compute capability {gpu.compute_capability}"
        yield f"{gpu.name}, {capability}, {gpu.memory_mb} MiB, CUDA {present.driver}"
    if not present.found:
        plugged = "NVIDIA GPU" in here.accelerators
        mend = "; one is plugged in: install NVIDIA's driver, and in a container pass it through"
        yield f"no NVIDIA GPU: {present.reason}{mend if plugged else ''}"
    yield from _intel(here)


def _intel(here: Inventory) -> Iterator[str]:
    """What is plugged in and OpenVINO does not find."""
    state = here.runtimes["openvino"]
    kinds = {each.partition(".")[0] for each in state.devices}
    for device in ("GPU", "NPU"):
        if device in kinds:
            yield f"Intel {device}: OpenVINO finds it"
        elif f"Intel {device}" in here.accelerators:
            mend = DRIVERS[device] if state.version else state.hint
            yield f"Intel {device}: plugged in, and OpenVINO does not find it: {mend}"


def _energy(found: tuple[Availability, ...]) -> Iterator[str]:
    for each in found:
        if each.source is not None:
            yield f"{each.source.name} ({each.kind})"
        elif each.present:
            yield f"{each.kind}: {each.reason}"
    if not any(each.present for each in found):
        yield f"none: {', '.join(each.reason for each in found)}; virtual machines hide theirs"


def _emulators(here: Inventory) -> Iterator[str]:
    for each in here.emulators:
        yield f"{each.description}: {each.missing or 'ready'}"


def _compiler(here: Inventory) -> Iterator[str]:
    if not here.missing_packages:
        yield "every package is installed"
        return
    names = ", ".join(here.missing_packages)
    yield f'without {names}, which a device does not need; to compile here: pip install "bertc[compile]"'
