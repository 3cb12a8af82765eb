"""What the host's commands need before they start."""

from __future__ import annotations

import importlib.util
from typing import Final

from targets.errors import MissingBackendError

_NEEDED: Final = ("torch", "transformers", "onnx_ir", "onnxscript", "onnxruntime", "rich")


def require_host() -> None:
    """Refuse to start without the packages of the extra `compile`.

    Raises:
        MissingBackendError: naming the ones that are missing.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise MissingBackendError(f"compiling needs {names}", 'run: pip install "bertc[compile]"')
