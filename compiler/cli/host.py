"""What the host's commands need before they start."""

from __future__ import annotations

import importlib.util

from targets.errors import MissingBackendError
from targets.inventory import HOST_PACKAGES


def require_host(what: str = "compiling") -> None:
    """Refuse to start without the packages of the extra `compile`.

    Args:
        what: that needs them, for the message.

    Raises:
        MissingBackendError: naming the ones that are missing.
    """
    missing = [name for name in HOST_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        names = ", ".join(missing)
        raise MissingBackendError(f"{what} needs {names}", 'run: pip install "bertc[compile]"')
