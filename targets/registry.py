"""The target profiles that ship with bertc, and how one is chosen."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from targets.detect import Machine, machine
from targets.errors import IncompatibleError, InternalError, UsageError
from targets.fields import nearest
from targets.spec import TargetSpec, load_profile, parse_profile

NATIVE: Final = "native"

_SUFFIX: Final = ".toml"


def list_targets() -> list[TargetSpec]:
    """The profiles that ship with bertc, sorted by id.

    Raises:
        InternalError: the installation holds none.
    """
    folder = files("targets") / "profiles"
    found = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(_SUFFIX))
    if not found:
        raise InternalError("the installation holds no target profiles", "install bertc again")
    return [parse_profile((folder / name).read_bytes(), name) for name in found]


def get_target(name: str | Path) -> TargetSpec:
    """A target by its id, by the path of a .toml profile, or `native` for this machine.

    Raises:
        UsageError: an unknown id (the nearest are named), or a profile that is not valid.
        IncompatibleError: `native`, and no profile fits this machine.
    """
    if isinstance(name, Path) or name.endswith(_SUFFIX):
        return load_profile(Path(name))
    if name == NATIVE:
        return detect_native()
    targets = {target.id: target for target in list_targets()}
    if name not in targets:
        raise UsageError(
            f"unknown target {name[:80]!r}: {nearest(name, [*targets, NATIVE])}",
            "`bertc targets` lists them; --target also takes the path of a .toml profile",
        )
    return targets[name]


def detect_native(this: Machine | None = None) -> TargetSpec:
    """The profile of this machine's board, or else the one that asks the most of the CPU and is satisfied.

    Args:
        this: the machine; None is the one that runs.

    Raises:
        IncompatibleError: no profile fits; the message names the features found.
    """
    this = this or machine()
    targets = list_targets()
    fitting = [target for target in targets if this.fits(target) and not target.devices]
    own = [target for target in fitting if this.board and this.board.startswith(target.boards)]
    general = [target for target in fitting if not target.boards]
    if own or general:
        return max(own or general, key=lambda target: len(target.cpu_features))
    named = {flag for target in targets for group in target.cpu_features for flag in group}
    found = ", ".join(sorted(this.cpu_features & named)) or "none"
    raise IncompatibleError(
        f"no target fits this machine: {this.os} on {this.arch}; of the CPU features that targets ask for"
        f" ({', '.join(sorted(named))}), found: {found}",
        "name a device with --target (`bertc targets` lists them)",
    )
