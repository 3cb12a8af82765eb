"""Models that OpenVINO has compiled before, in the user's own cache folder.

What OpenVINO exports and imports there is native code's own format, read by native code: see
`targets.runtime.cache` for what that asks of the folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from targets.detect import machine
from targets.runtime.cache import cache_folder, forget_oldest, read_own, write_own

KEPT: Final = 16

_SUFFIX: Final = ".blob"


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
    return cache_folder("openvino") / f"{bundle_id[:16]}-{digest[:32]}{_SUFFIX}"


def read_cached(path: Path) -> bytes | None:
    """The bytes of a cached model; None if it is not there, or is not the user's alone to write."""
    return read_own(path)


def write_cached(path: Path, data: bytes) -> None:
    """Keeps a model, whole or not at all, and at most `KEPT` of them; a cache that fails costs time only."""
    with contextlib.suppress(OSError):
        write_own(path, data)
        forget_oldest(path.parent, _SUFFIX, KEPT)
