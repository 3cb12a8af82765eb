"""What an emulator still needs."""

from __future__ import annotations

from compiler.emulate.qemu import find_qemu
from compiler.emulate.userland import find_userland


def missing(name: str) -> str:
    """Why a userland cannot be used, with the command that mends it; empty where it can."""
    if find_userland(name) is None:
        return f"not set up: bertc emulator setup {name}"
    if find_qemu(name) is None:
        return f"there is no QEMU for it: bertc emulator setup {name}"
    return ""
