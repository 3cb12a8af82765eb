"""What an emulator still needs."""

from __future__ import annotations

from compiler.emulate.qemu import find_qemu, no_qemu
from compiler.emulate.userland import Userland, find_userland, require_userland


def missing(name: str) -> str:
    """Why a userland cannot be used, with the command that mends it; empty where it can."""
    if find_userland(name) is None:
        return f"not set up: bertc emulator setup {name}"
    if find_qemu(name) is None:
        return f"there is no QEMU for it: bertc emulator setup {name}"
    return ""


def require_emulator(name: str) -> Userland:
    """The userland, with a QEMU that runs it.

    Raises:
        MissingBackendError: it was not set up, or there is no QEMU.
    """
    userland = require_userland(name)
    if find_qemu(name) is None:
        raise no_qemu(name)
    return userland
