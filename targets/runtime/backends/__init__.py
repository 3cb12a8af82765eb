"""Opens a model on a runtime; the runtime's package is imported only here, when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from targets.errors import IncompatibleError, MissingBackendError, UsageError
from targets.runtime.backends.base import Backend
from targets.runtime.backends.threads import resolve_threads
from targets.runtime.settings import DYNAMIC, ShapePolicy
from targets.spec import GPU_RUNTIMES, Device

__all__ = ["Backend", "open_backend", "open_backend_from_path"]

_NO_OPTIONS: Mapping[str, str] = {}


def open_backend(
    runtime: str,
    model: bytes,
    weights: bytes | None = None,
    *,
    threads: int = 0,
    options: Mapping[str, str] = _NO_OPTIONS,
    streams: int = 1,
    shapes: ShapePolicy = DYNAMIC,
    cached: str | None = None,
    cuda_graphs: bool = False,
    device: Device = "CPU",
    lengths: Sequence[int] = (),
) -> Backend:
    """Loads a model from bytes that the caller has already checked.

    Args:
        runtime: one of `targets.spec.RUNTIMES`.
        model: the ONNX file, the XML of an OpenVINO model, or an engine of TensorRT or TensorRT-RTX.
        weights: the `.bin` of an OpenVINO model; None for onnxruntime.
        threads: threads of all streams together; 0 for every physical core this process may use.
        options: session options, each on the runtime's allow-list.
        streams: runs that are computed side by side, at most one a thread.
        shapes: the shapes that are compiled for themselves, where the runtime gains by it.
        cached: id of the bundle whose compiled model OpenVINO keeps in the user's cache folder; None to keep
            nothing.
        cuda_graphs: whether single texts of the lengths in `shapes` are run as CUDA graphs, on a GPU.
        device: of OpenVINO, on which the model is compiled.
        lengths: in tokens, ascending, of the only shapes that OpenVINO compiles, one text each, `shapes` or
            not; none of them: any shape.

    Raises:
        MissingBackendError: the runtime is not installed.
        IncompatibleError: the installed runtime cannot load the model.
        UnsupportedError: an option that is not allowed, or a model that reaches outside its own bytes.
        UsageError: an unknown runtime.
    """
    if runtime != "openvino" and (device != "CPU" or lengths):
        raise UsageError(f"{runtime} has no devices and fixed lengths", "they are OpenVINO's: use openvino")
    return _open(
        runtime, model, weights, threads, options, streams, shapes, cached, cuda_graphs, device, lengths
    )


def open_backend_from_path(
    runtime: str, path: Path | str, *, threads: int = 0, options: Mapping[str, str] = _NO_OPTIONS
) -> Backend:
    """Loads a model that this process wrote itself, from its path.

    The file is trusted: it may be an ONNX file larger than 2 GB with its weights beside it, and both
    runtimes take ONNX. A bundle's model is loaded with `open_backend`.

    Args:
        runtime: `onnxruntime` or `openvino`.
        path: an ONNX file, or the XML of an OpenVINO model with its `.bin` beside it.
        threads: as in `open_backend`.
        options: as in `open_backend`.
    """
    source = Path(path)
    if not source.is_file():
        raise UsageError(f"there is no model at {source}", "check the path")
    return _open(runtime, source, None, threads, options)


def _open(
    runtime: str,
    model: bytes | Path,
    weights: bytes | None,
    threads: int,
    options: Mapping[str, str],
    streams: int = 1,
    shapes: ShapePolicy = DYNAMIC,
    cached: str | None = None,
    cuda_graphs: bool = False,
    device: Device = "CPU",
    lengths: Sequence[int] = (),
) -> Backend:
    if threads < 0:
        raise UsageError(f"threads cannot be {threads}", "give 0 for all cores, or a positive number")
    count = resolve_threads(threads)
    streams = max(1, min(streams, count))
    if runtime == "onnxruntime":
        require_package("onnxruntime")
        from targets.runtime.backends.onnxruntime import OnnxRuntimeBackend

        return OnnxRuntimeBackend(model, threads=count // streams, options=options)
    if runtime == "openvino":
        require_package("openvino")
        from targets.runtime.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(
            model,
            weights,
            threads=count,
            options=options,
            streams=streams,
            shapes=shapes,
            cached=cached,
            device=device,
            lengths=lengths,
        )
    if runtime in GPU_RUNTIMES and isinstance(model, bytes):
        from targets.runtime.backends.tensorrt import TensorRtBackend

        return TensorRtBackend(model, runtime, shapes if cuda_graphs else None)
    raise UsageError(f"there is no runtime {runtime!r}", "use onnxruntime or openvino")


def require_package(runtime: str) -> None:
    """Imports the runtime's package, whose name is the runtime's.

    Raises:
        MissingBackendError: it is not installed.
        IncompatibleError: it is installed and does not load on this machine.
    """
    try:
        importlib.import_module(runtime)
    except ModuleNotFoundError as error:
        if error.name != runtime:
            raise IncompatibleError(
                f"{runtime} is installed but its dependency {error.name} is not",
                f'run: pip install --force-reinstall "bertc[{runtime}]"',
            ) from error
        raise MissingBackendError(
            f"{runtime} is not installed", f'run: pip install "bertc[{runtime}]"'
        ) from error
    except ImportError as error:
        raise IncompatibleError(
            f"{runtime} is installed but does not load: {str(error).splitlines()[0]}",
            "install a build of it for this machine",
        ) from error
