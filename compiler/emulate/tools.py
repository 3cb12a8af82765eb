"""Other programs, with errors that a user can act on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from targets.errors import MissingBackendError

_LINES = 3


def require_tool(name: str, hint: str) -> None:
    """Checks that a program is on PATH.

    Raises:
        MissingBackendError: it is not.
    """
    if shutil.which(name) is None:
        raise MissingBackendError(f"{name} is not installed", hint)


def run_tool(command: Sequence[str], hint: str, *, folder: Path | None = None) -> str:
    """What a program prints.

    Args:
        command: the program and its arguments.
        hint: what to do when it fails.
        folder: that it runs in.

    Raises:
        MissingBackendError: it cannot be started, or fails; the message has its last errors.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise MissingBackendError(f"cannot start {command[0]}: {error.strerror or error}", hint) from error
    if done.returncode == 0:
        return done.stdout
    told = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in told if line.startswith(("E:", "ERROR:"))] or told
    raise MissingBackendError(
        f"{Path(command[0]).name} failed: {'; '.join(errors[-_LINES:])[:300] or done.returncode}", hint
    )
