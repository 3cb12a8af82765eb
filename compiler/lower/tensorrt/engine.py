"""Engines built ahead of time through TensorRT-RTX, on a host that need not have a GPU."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from compiler.lower.artifact import Artifact
from targets.errors import IncompatibleError, InternalError, MissingBackendError, UnsupportedError
from targets.spec import ShapeRange

FILE: Final = "model/model.engine"
_INSTALL: Final = 'run: pip install "bertc[tensorrt-rtx]" (x86-64 Linux and Windows, and arm64 Linux)'


def tensorrt_rtx() -> Any:
    """The bindings of TensorRT-RTX.

    Raises:
        MissingBackendError: they are not installed.
        IncompatibleError: they do not load on this machine.
    """
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        try:
            if name == "tensorrt_rtx_bindings":
                importlib.import_module("tensorrt_rtx_libs")
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError) as error:
            raise IncompatibleError(
                f"TensorRT-RTX does not load on this machine: {str(error).splitlines()[0]}",
                "build engines on an x86-64 Linux host",
            ) from error
    raise MissingBackendError("TensorRT-RTX, which builds the engine, is not installed", _INSTALL)


def build_engine(
    data: bytes,
    capabilities: Sequence[str],
    shapes: ShapeRange,
    *,
    workspace_mb: int,
) -> bytes:
    """Compile a strongly typed graph, weights inside: without a GPU the builder makes no weightless engine.

    Args:
        data: the ONNX file, weights inside.
        capabilities: of the GPUs that the engine is for, as in "8.6"; all of them in one engine.
        shapes: the optimization profile of every input.
        workspace_mb: memory that the builder may plan for scratch, in MiB.

    Returns:
        The engine: native code, for these GPUs and this version of TensorRT-RTX.

    Raises:
        MissingBackendError, IncompatibleError: as `tensorrt_rtx`.
        UnsupportedError: the parser or the builder refuses; its own words are kept.
    """
    trt = tensorrt_rtx()
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(data):
        told = parser.get_error(0).desc() if parser.num_errors else "no reason was given"
        raise _refused("cannot read the graph", told)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    config.num_compute_capabilities = len(capabilities)
    for place, capability in enumerate(capabilities):
        config.set_compute_capability(_capability(trt, capability), place)
    profile = builder.create_optimization_profile()
    for place in range(network.num_inputs):
        profile.set_shape(network.get_input(place).name, *shapes.all)
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise _refused(f"cannot build for compute capability {', '.join(capabilities)}", logger.told)
    return bytes(engine)


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
    least = ".".join(version().split(".")[:2])
    files = {**artifact.files, FILE: engine}
    return replace(artifact, main=FILE, files=files, minimum_version=least, engine=built)


def version() -> str:
    """The version of TensorRT-RTX."""
    return str(tensorrt_rtx().__version__)


def _capability(trt: Any, capability: str) -> Any:
    name = f"SM{capability.replace('.', '')}"
    found = getattr(trt.ComputeCapability, name, None)
    if found is None:
        known = sorted(each for each in dir(trt.ComputeCapability) if each.startswith("SM"))
        raise UnsupportedError(
            f"TensorRT-RTX {trt.__version__} builds for no GPU of compute capability {capability}",
            f"it knows {', '.join(known)}; use a target whose engine is built on the device with --target",
        )
    return found


def _logger(trt: Any) -> Any:
    class Logger(trt.ILogger):  # type: ignore[misc]
        """Keeps the first error, which has the reason."""

        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.told = ""

        def log(self, severity: Any, message: str) -> None:
            if not self.told and severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.told = message

    return Logger()


def _refused(what: str, told: str) -> UnsupportedError:
    words = " ".join(told.split())[:300] or "no reason was given"
    return UnsupportedError(f"TensorRT-RTX {what}: {words}", "use --precision fp16, or another --target")
