"""`bertc doctor`: what this machine has, and which targets it can compile for, run and measure."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import click

from targets.bundle.device import (
    backend_version,
    check_target_gpu,
    finds_device,
    is_installed,
    openvino_devices,
)
from targets.cli.options import print_json, print_text
from targets.detect import Machine, machine
from targets.errors import IncompatibleError, MissingBackendError
from targets.gpu import Gpus, gpus
from targets.registry import list_targets
from targets.spec import RUNTIMES, Runtime, TargetSpec

HOST_PACKAGES: Final = ("torch", "transformers", "onnx_ir", "onnxscript", "onnxruntime", "rich")
"""Without which nothing is compiled."""


@dataclass(frozen=True, slots=True)
class Ability:
    """What a machine can do for one target.

    Attributes:
        target: its id.
        compile: None if it can; why not, else.
        run: None if it can; why not, else.
        evidence: of a validation here: "measured", "simulated", or "none".
    """

    target: str
    compile: str | None
    run: str | None
    evidence: str


@click.command("doctor", short_help="What this machine can compile for, run and measure.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor_command(as_json: bool) -> None:
    """Show what this machine has, and which targets it can compile for, run and measure."""
    here, present = machine(), gpus()
    versions = {name: _version(name) for name in RUNTIMES}
    missing = [name for name in HOST_PACKAGES if importlib.util.find_spec(name) is None]
    abilities = [ability(spec, here, present, missing) for spec in list_targets()]
    if as_json:
        print_json(_document(here, present, versions, missing, abilities))
        return
    print_text(
        f"machine   {here.os} on {here.arch}, {here.cpu_model}, {here.cores} cores, {here.memory_mb} MiB"
    )
    for gpu in present.found:
        print_text(f"GPU       {gpu.name}, compute capability {gpu.compute_capability}, {gpu.memory_mb} MiB")
    if not present.found:
        print_text(f"GPU       none: {present.reason}")
    for name, version in versions.items():
        print_text(f"runtime   {name} {version or 'is not installed'}")
    print_text("compiler  " + (f"{', '.join(missing)} not installed" if missing else "installed"))
    _table(abilities)


def ability(spec: TargetSpec, here: Machine, present: Gpus, missing: list[str]) -> Ability:
    """What a machine can do for a target.

    Args:
        spec: the target.
        here: the machine.
        present: its GPUs.
        missing: host packages that are not there.
    """
    run = _cannot_run(spec, here, present)
    build = f"{missing[0]} is not installed" if missing else _cannot_compile(spec, here)
    simulated = "simulated" if (spec.gpu or spec.devices) and build is None else "none"
    return Ability(spec.id, build, run, "measured" if run is None else simulated)


def _cannot_run(spec: TargetSpec, here: Machine, present: Gpus) -> str | None:
    names = [profile.name for profile in spec.runtimes]
    if spec.gpu:
        try:
            check_target_gpu(spec.compute_capabilities, spec.memory_mb, present)
        except IncompatibleError as error:
            return error.message
    elif not here.fits(spec):
        return _differs(spec, here)
    if spec.devices and is_installed("openvino"):
        found = openvino_devices()
        for each in spec.devices:
            if not finds_device(found, each):
                return f"OpenVINO finds no {each} here (it has: {', '.join(found) or 'none'})"
    return None if any(map(is_installed, names)) else f"{' and '.join(names)} not installed"


def _cannot_compile(spec: TargetSpec, here: Machine) -> str | None:
    names = [profile.name for profile in spec.runtimes]
    if not (spec.gpu or spec.devices) and not here.fits(spec):
        return _differs(spec, here)
    if "tensorrt" in names or any(map(is_installed, names)):
        return None
    return f"{' and '.join(names)} not installed"


def _differs(spec: TargetSpec, here: Machine) -> str:
    if (spec.os, spec.arch) != (here.os, here.arch):
        return f"this is {here.os} on {here.arch}"
    lacking = here.missing_features(spec.cpu_features)
    return "the CPU has no " + " and ".join(" or ".join(group) for group in lacking)


def _version(name: str) -> str | None:
    if not is_installed(name):
        return None
    try:
        return backend_version(name)
    except MissingBackendError:
        return None


def _table(abilities: list[Ability]) -> None:
    width = max(len(each.target) for each in abilities)
    print_text("")
    print_text(f"{'target':<{width}}  compile  run  evidence")
    for each in abilities:
        marks = ["no" if reason else "yes" for reason in (each.compile, each.run)]
        print_text(f"{each.target:<{width}}  {marks[0]:<7}  {marks[1]:<3}  {each.evidence}")
        for what, reason in (("compile", each.compile), ("run", each.run)):
            if reason:
                print_text(f"{'':<{width}}    {what}: {reason}")


def _document(
    here: Machine,
    present: Gpus,
    versions: Mapping[Runtime, str | None],
    missing: list[str],
    abilities: list[Ability],
) -> dict[str, Any]:
    return {
        "machine": {
            "os": here.os,
            "arch": here.arch,
            "cpu": here.cpu_model,
            "cores": here.cores,
            "memory_mb": here.memory_mb,
        },
        "gpus": [
            {"name": gpu.name, "compute_capability": gpu.compute_capability, "memory_mb": gpu.memory_mb}
            for gpu in present.found
        ],
        "no_gpu": present.reason or None,
        "driver": present.driver or None,
        "runtimes": dict(versions),
        "missing_packages": missing,
        "targets": [
            {"id": each.target, "compile": each.compile, "run": each.run, "evidence": each.evidence}
            for each in abilities
        ],
    }
