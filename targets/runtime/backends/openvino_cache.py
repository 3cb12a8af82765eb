"""Models that OpenVINO has compiled before, in the user's own cache folder.

What OpenVINO exports and imports there is native code's own format, read by native code: whoever can write to
the user's cache folder could replace it. So nothing is cached unless the caller asks for it, files are the
user's alone, and a bundle never brings any.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from targets.detect import machine

KEPT: Final = 16
MAX_BYTES: Final = 4 * 1024**3

_SUFFIX: Final = ".blob"
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def cache_folder() -> Path:
    """`openvino` in `BERTC_CACHE_DIR`, else in `bertc` in `XDG_CACHE_HOME`, else in `~/.cache/bertc`."""
    own = os.environ.get("BERTC_CACHE_DIR", "")
    if own:
        return Path(own) / "openvino"
    shared = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(shared) if Path(shared).is_absolute() else Path.home() / ".cache") / "bertc" / "openvino"


def cache_file(bundle_id: str, version: str, properties: Mapping[str, str]) -> Path:
    """Where a bundle's compiled model is kept: by bundle, OpenVINO's version, CPU and how it was compiled."""
    here = machine()
    known = {
        "bundle": bundle_id,
        "openvino": version,
        "cpu": [here.cpu_model, *sorted(here.cpu_features)],
        "properties": dict(properties),
    }
    digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
    return cache_folder() / f"{bundle_id[:16]}-{digest[:32]}{_SUFFIX}"


def read_cached(path: Path) -> bytes | None:
    """The bytes of a cached model; None if it is not there, or is not the user's alone to write."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as stream:
        found = os.fstat(descriptor)
        shared = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or shared:
            return None
        if found.st_size > MAX_BYTES:
            return None
        with contextlib.suppress(OSError):
            return stream.read()
    return None


def write_cached(path: Path, data: bytes) -> None:
    """Keeps a model, whole or not at all, and at most `KEPT` of them; a cache that fails costs time only."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
            Path(temporary).replace(path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
        _forget_oldest(path.parent)


def _forget_oldest(folder: Path) -> None:
    found = sorted(folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[KEPT:]:
        path.unlink(missing_ok=True)
