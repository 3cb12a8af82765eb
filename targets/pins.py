"""What a device installs: the files of requirements that ship with bertc, pinned and hashed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from targets.bundle.device import install_hint
from targets.errors import UsageError
from targets.spec import GPU_RUNTIMES, Runtime, TargetSpec

PIP: Final = "pip install --no-deps --require-hashes --only-binary=:all:"
"""Installs exactly what a file names: no other version, no other bytes, nothing that is built."""


@dataclass(frozen=True, slots=True)
class Pins:
    """The requirements of a device.

    Attributes:
        file: their name in `targets/requirements`.
        runtime: that they are for.
        text: as pip reads it.
    """

    file: str
    runtime: Runtime
    text: str


def device_pins(spec: TargetSpec, runtime: Runtime | None = None) -> Pins:
    """What a target's devices install.

    Args:
        spec: the target.
        runtime: None for the target's first.

    Raises:
        UsageError: the target does not have that runtime, or no file is for it.
    """
    name = spec.runtimes[0].name if runtime is None else spec.runtime(runtime).name
    if name in GPU_RUNTIMES:
        raise UsageError(
            f"no requirements are pinned for {name}, which belongs to its device's system", install_hint(name)
        )
    file = f"{spec.arch}-{name}.txt"
    place = files("targets") / "requirements" / file
    if not place.is_file():
        raise UsageError(f"no requirements are pinned for {name} on {spec.arch}", install_hint(name))
    return Pins(file, name, place.read_text(encoding="utf-8"))
