"""Engines built ahead of time through TensorRT-RTX, on a host that need not have a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from compiler.lower.artifact import Artifact
from targets.errors import InternalError
from targets.runtime.engine.builder import BuildOptions, build
from targets.runtime.engine.packages import load_tensorrt
from targets.spec import ShapeRange

FILE: Final = "model/model.engine"


def build_engine(
    graph: bytes, capabilities: Sequence[str], shapes: ShapeRange, *, workspace_mb: int
) -> bytes:
    """Compile a strongly typed graph, weights inside: without a GPU the builder makes no weightless engine.

    Args:
        graph: the ONNX file, weights inside.
        capabilities: of the GPUs that the engine is for, as in "8.6"; all of them in one engine.
        shapes: the optimization profile of every input.
        workspace_mb: memory that the builder may plan for scratch, in MiB.

    Returns:
        The engine: native code, for these GPUs and this version of TensorRT-RTX.

    Raises:
        MissingBackendError: TensorRT-RTX is not installed.
        IncompatibleError: it does not load on this machine.
        UnsupportedError: the parser or the builder refuses; its own words are kept.
    """
    options = BuildOptions(shapes, workspace_mb, tuple(capabilities))
    return build(load_tensorrt("tensorrt-rtx"), graph, options).engine


def with_engine(artifact: Artifact, capabilities: Sequence[str]) -> Artifact:
    """A TensorRT-RTX artifact with its engine beside the graph that it was built from.

    Args:
        artifact: of `compiler.lower.tensorrt.lowering.lower`.
        capabilities: of the GPUs that the engine is for.

    Raises:
        MissingBackendError, IncompatibleError, UnsupportedError: as `build_engine`.
    """
    record = artifact.engine
    if record is None:
        raise InternalError(f"an artifact of {artifact.runtime} has no engine")
    graph = artifact.files[artifact.main]
    engine = build_engine(graph, capabilities, record.shapes, workspace_mb=record.workspace_mb)
    variant = replace(record.variants[0], engine=FILE)
    built = replace(record, variants=(variant,), compute_capabilities=tuple(capabilities))
    version = str(load_tensorrt("tensorrt-rtx").__version__)
    files = {**artifact.files, FILE: engine}
    least = ".".join(version.split(".")[:2])
    return replace(artifact, main=FILE, files=files, minimum_version=least, engine=built)
