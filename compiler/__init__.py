"""Everything between a checkpoint and a bundle."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compiler.compile import compile_model as compile_model
    from compiler.dry_run import plan_compile as plan_compile
    from compiler.inspection import inspect_model as inspect_model
    from compiler.options import CompileOptions as CompileOptions
    from compiler.replay.compile import compile_from_manifest as compile_from_manifest
    from compiler.report.report import Report as Report

_PLACES = {
    "CompileOptions": "compiler.options",
    "Report": "compiler.report.report",
    "compile_from_manifest": "compiler.replay.compile",
    "compile_model": "compiler.compile",
    "inspect_model": "compiler.inspection",
    "plan_compile": "compiler.dry_run",
}

__all__ = [
    "CompileOptions",
    "Report",
    "compile_from_manifest",
    "compile_model",
    "inspect_model",
    "plan_compile",
]


def __getattr__(name: str) -> Any:
    """Import what is used when it is first used: the device side never needs it."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
