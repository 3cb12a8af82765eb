"""What a machine has that bundles are compiled, run or measured with."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from targets.bundle.device import backend_version, install_hint, is_installed, openvino_devices
from targets.detect import Machine, machine
from targets.errors import BertcError
from targets.gpu import Gpus, gpus
from targets.pci import Accelerator, accelerators
from targets.runtime.energy.base import Availability
from targets.runtime.energy.sources import energy_sources
from targets.spec import RUNTIMES, Runtime

HOST_PACKAGES: Final = ("torch", "transformers", "onnx_ir", "onnxscript", "onnxruntime", "rich")
"""Without which nothing is compiled."""

NOT_INSTALLED: Final = "not installed"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RuntimeState:
    """One runtime on a machine.

    Attributes:
        version: None where it cannot be used.
        problem: why not, a clause; empty if it can.
        hint: what mends it; empty if nothing is wrong.
        devices: of OpenVINO, as in ("CPU", "GPU.0"); empty for the others.
    """

    version: str | None = None
    problem: str = ""
    hint: str = ""
    devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Emulator:
    """A CPU that is not here.

    Attributes:
        id: as profiles name it.
        description: one line for people.
        userland: as `bertc emulator setup` names it.
        missing: why it cannot be used, with the command that mends it; empty where it is ready.
    """

    id: str
    description: str
    userland: str
    missing: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a machine has.

    Attributes:
        machine: its CPU, memory and system.
        gpus: what NVIDIA's driver says.
        runtimes: every runtime.
        missing_packages: of `HOST_PACKAGES`.
        energy: every kind of energy source.
        accelerators: that are plugged in.
        emulators: of a host; a device has none.
    """

    machine: Machine
    gpus: Gpus
    runtimes: Mapping[Runtime, RuntimeState] = field(hash=False)
    missing_packages: tuple[str, ...] = ()
    energy: tuple[Availability, ...] = ()
    accelerators: frozenset[Accelerator] = frozenset()
    emulators: tuple[Emulator, ...] = ()


def take_inventory(root: Path = Path("/")) -> Inventory:
    """What this machine has; what fails to answer is told in the answer's place.

    No host package is imported, and of the runtimes OpenVINO alone, which knows its devices.

    Args:
        root: where /proc and /sys are found.
    """
    found = asked(gpus, lambda why: Gpus(reason=why))
    bus_id = found.found[0].bus_id if found.found else ""
    return Inventory(
        machine(root),
        found,
        {name: _runtime(name) for name in RUNTIMES},
        tuple(name for name in HOST_PACKAGES if not asked(partial(_is_there, name), lambda _: False)),
        asked(lambda: energy_sources(root, bus_id=bus_id), lambda why: (Availability("energy", reason=why),)),
        asked(lambda: accelerators(root), lambda _: frozenset()),
    )


def asked(question: Callable[[], T], otherwise: Callable[[str], T]) -> T:
    """The answer, or what `otherwise` makes of the reason why there is none.

    Drivers and runtimes of others are asked here, and what they raise cannot be listed.
    """
    try:
        return question()
    except BertcError as error:
        return otherwise(error.message)
    except Exception as error:
        text = " ".join(str(error).split())[:200]
        return otherwise(f"asking it failed with {type(error).__name__}" + (f": {text}" if text else ""))


def _runtime(name: Runtime) -> RuntimeState:
    hint = install_hint(name)
    if not asked(lambda: is_installed(name), lambda _: False):
        return RuntimeState(problem=NOT_INSTALLED, hint=hint)
    return asked(lambda: _installed(name), lambda why: RuntimeState(problem=why, hint=hint))


def _installed(name: Runtime) -> RuntimeState:
    devices = openvino_devices() if name == "openvino" else ()
    return RuntimeState(backend_version(name), devices=devices)


def _is_there(name: str) -> bool:
    return importlib.util.find_spec(name) is not None
