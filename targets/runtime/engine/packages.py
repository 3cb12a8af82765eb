"""The Python packages of TensorRT and TensorRT-RTX, imported only where an engine is built or run."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from targets.bundle.device import install_hint
from targets.errors import IncompatibleError, MissingBackendError

_MODULES: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = {
    "tensorrt": (("tensorrt",),),
    "tensorrt-rtx": (("tensorrt_rtx",), ("tensorrt_rtx_libs", "tensorrt_rtx_bindings")),
}


def load_tensorrt(runtime: str) -> Any:
    """The bindings of a runtime.

    Args:
        runtime: "tensorrt" or "tensorrt-rtx".

    Raises:
        MissingBackendError: they are not installed.
        IncompatibleError: they do not load on this machine.
    """
    for names in _MODULES[runtime]:
        try:
            return [importlib.import_module(name) for name in names][-1]
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError) as error:
            raise IncompatibleError(
                f"{runtime} does not load on this machine: {str(error).splitlines()[0]}",
                "install a build of it for this machine",
            ) from error
    raise MissingBackendError(
        f"{runtime}, which builds and runs engines, is not installed", install_hint(runtime)
    )
