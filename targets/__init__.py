"""Targets, bundles, and what runs on a device.

`from targets import Bundle` is the device's library; nothing is imported before it is used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle

__version__ = "0.1.0"

__all__ = ["Bundle", "__version__"]


def __getattr__(name: str) -> object:
    if name == "Bundle":
        from targets.bundle.reader import Bundle

        return Bundle
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
