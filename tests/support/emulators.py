"""QEMUs that are shell scripts."""

from __future__ import annotations

from pathlib import Path

from compiler.emulate.qemu import qemu_version
from compiler.emulate.userland import qemu_folder

VERSION = "10.0.2"


def fake_qemu(path: Path, text: str, version: str = VERSION) -> Path:
    """A QEMU that tells its version, and else does what a script says."""
    told = (
        f'[ "$1" = --version ] && {{ echo "qemu-aarch64 version {version} (Debian 1:{version})"; exit 0; }}'
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{told}\n{text}")
    path.chmod(0o755)
    # Versions are kept by path, and tests replace programs.
    qemu_version.cache_clear()
    return path


def own_qemu(text: str) -> Path:
    """The QEMU of the user's cache folder for arm64."""
    return fake_qemu(qemu_folder() / "qemu-aarch64", text)
