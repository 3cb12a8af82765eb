"""Everything between a checkpoint and a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compiler.compile import compile_model as compile_model
    from compiler.options import CompileOptions as CompileOptions
    from compiler.replay.compile import compile_from_manifest as compile_from_manifest

__all__ = ["CompileOptions", "compile_from_manifest", "compile_model"]


def __getattr__(name: str) -> Any:
    """Import the compiler when it is first used: the device side never is."""
    if name == "compile_model":
        from compiler.compile import compile_model

        return compile_model
    if name == "compile_from_manifest":
        from compiler.replay.compile import compile_from_manifest

        return compile_from_manifest
    if name == "CompileOptions":
        from compiler.options import CompileOptions

        return CompileOptions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
