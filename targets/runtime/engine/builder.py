"""From a strongly typed ONNX graph to an engine, by the Python API that TensorRT and TensorRT-RTX share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from targets.errors import UnsupportedError
from targets.spec import ShapeRange

Step = Callable[[str, int, int], None]
"""Told of a phase of the build, the steps of it that are done, and how many there are."""
_ERRORS: Final = 3


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """How an engine is built.

    Attributes:
        shapes: the optimization profile of every input.
        workspace_mb: memory that the builder may plan for scratch, in MiB.
        capabilities: compute capabilities to build for, as in "8.6"; none: the GPU that is there. Only
            TensorRT-RTX builds for others.
        version_compatible: an engine that later versions of TensorRT run too, larger and slower.
        timing: what an earlier build on this device measured.
    """

    shapes: ShapeRange
    workspace_mb: int
    capabilities: tuple[str, ...] = ()
    version_compatible: bool = False
    timing: bytes | None = None


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine, native code, and what was measured to build it (empty where nothing was)."""

    engine: bytes
    timing: bytes = b""


def build(trt: Any, graph: bytes, options: BuildOptions, step: Step | None = None) -> BuiltEngine:
    """Compile a graph.

    Args:
        trt: the bindings (`targets.runtime.engine.packages.load_tensorrt`).
        graph: an ONNX file with one type for each value, weights inside.
        options: see `BuildOptions`.
        step: told of the build's progress.

    Raises:
        UnsupportedError: the parser or the builder refuses; its own words are kept.
    """
    logger = _logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(graph):
        raise _refused(trt, "cannot read the graph", _parser_errors(parser))
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mb << 20)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    _set_capabilities(trt, config, options.capabilities)
    if options.timing is not None:
        config.set_timing_cache(config.create_timing_cache(options.timing), ignore_mismatch=False)
    if step is not None:
        config.progress_monitor = _monitor(trt, step)
    config.add_optimization_profile(_profile(builder, network, options.shapes))
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        what = f" for compute capability {', '.join(options.capabilities)}" if options.capabilities else ""
        raise _refused(trt, f"cannot build{what}", logger.told)
    return BuiltEngine(bytes(engine), _timing(config) if options.timing is not None else b"")


def _network_flags(trt: Any) -> int:
    """Strongly typed, which TensorRT 10 must be told, and which TensorRT 11 and TensorRT-RTX are always."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return 0 if flag is None else 1 << int(flag)


def _set_capabilities(trt: Any, config: Any, capabilities: Sequence[str]) -> None:
    if not capabilities:
        return
    config.num_compute_capabilities = len(capabilities)
    for place, capability in enumerate(capabilities):
        found = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}", None)
        if found is None:
            known = sorted(each for each in dir(trt.ComputeCapability) if each.startswith("SM"))
            raise UnsupportedError(
                f"TensorRT-RTX {trt.__version__} builds for no GPU of compute capability {capability}",
                f"it knows {', '.join(known)}; use a --target whose engine is built on the device",
            )
        config.set_compute_capability(found, place)


def _profile(builder: Any, network: Any, shapes: ShapeRange) -> Any:
    profile = builder.create_optimization_profile()
    for place in range(network.num_inputs):
        profile.set_shape(network.get_input(place).name, *shapes.all)
    return profile


def _timing(config: Any) -> bytes:
    cache = config.get_timing_cache()
    return b"" if cache is None else bytes(cache.serialize())


def _parser_errors(parser: Any) -> str:
    return "; ".join(parser.get_error(place).desc() for place in range(min(parser.num_errors, _ERRORS)))


def _refused(trt: Any, what: str, told: str) -> UnsupportedError:
    words = " ".join(told.split())[:300] or "no reason was given"
    return UnsupportedError(
        f"TensorRT {trt.__version__} {what}: {words}", "use --precision fp16, or another --target"
    )


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


def _monitor(trt: Any, step: Step) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """Passes on what TensorRT tells."""

        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            del parent_phase
            self.steps[phase_name] = num_steps
            step(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, number: int) -> bool:
            step(phase_name, number + 1, self.steps.get(phase_name, 0))
            return True

        def phase_finish(self, phase_name: str) -> None:
            self.steps.pop(phase_name, None)

    return Monitor()
