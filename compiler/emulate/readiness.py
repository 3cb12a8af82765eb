"""What an emulator still needs."""

from __future__ import annotations

from compiler.emulate.qemu import find_qemu, no_qemu
from compiler.emulate.userland import ARCHES, Userland, find_userland, require_userland


def missing(name: str) -> str:
    """Why a userland cannot be used, with the command that mends it; empty where it can."""
    userland = find_userland(name)
    if userland is None:
        return f"not set up: bertc emulator setup {name}"
    if find_qemu(name, userland.folder) is None:
        return f"there is no qemu-{ARCHES[name].qemu}-static: bertc emulator setup {name} --force"
    return ""


def require_emulator(name: str) -> Userland:
    """The userland, with a QEMU that runs it.

    Raises:
        MissingBackendError: it was not set up, or there is no QEMU.
    """
    userland = require_userland(name)
    if find_qemu(name, userland.folder) is None:
        raise no_qemu(name)
    return userland
