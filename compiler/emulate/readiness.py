"""What an emulator still needs."""

from __future__ import annotations

from compiler.emulate.qemu import find_qemu, no_qemu
from compiler.emulate.userland import Userland, find_userland, no_userland, require_userland
from targets.errors import BertcError, IntegrityError


def missing(name: str) -> str:
    """Why a userland cannot be used, with the command that mends it; empty where it can."""
    if find_userland(name) is None:
        return _distrust(no_userland(name)) or f"not set up: bertc emulator setup {name}"
    if find_qemu(name) is None:
        return _distrust(no_qemu(name)) or f"there is no QEMU for it: bertc emulator setup {name}"
    return ""


def _distrust(problem: BertcError) -> str:
    return f"{problem.message}; {problem.hint}" if isinstance(problem, IntegrityError) else ""


def require_emulator(name: str) -> Userland:
    """The userland, with a QEMU that runs it.

    Raises:
        MissingBackendError: it was not set up, or there is no QEMU.
        IntegrityError: others can write to one of them.
    """
    userland = require_userland(name)
    if find_qemu(name) is None:
        raise no_qemu(name)
    return userland
