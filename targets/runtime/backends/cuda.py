"""The few calls of the CUDA runtime that running an engine takes, through NVIDIA's cuda-python."""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.errors import IncompatibleError, InternalError, MissingBackendError

_MODULES: Final = ("cuda.bindings.runtime", "cuda.cudart")
_TO_DEVICE: Final = "cudaMemcpyHostToDevice"
_TO_HOST: Final = "cudaMemcpyDeviceToHost"
_CAPTURE: Final = "cudaStreamCaptureModeThreadLocal"


def load_cuda() -> Any:
    """The bindings of the CUDA runtime.

    Raises:
        MissingBackendError: cuda-python is not installed.
    """
    for name in _MODULES:
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
    raise MissingBackendError(
        "cuda-python, which gives engines their memory, is not installed", "run: pip install cuda-python"
    )


class Cuda:
    """A stream, and memory on both sides of it, freed together.

    Args:
        runtime: the module of `load_cuda`.

    Raises:
        IncompatibleError: there is no GPU that the CUDA runtime can use.
    """

    def __init__(self, runtime: Any) -> None:
        """Makes the stream."""
        self._cuda = runtime
        self._device: list[int] = []
        self._host: list[int] = []
        self._graphs: list[Any] = []
        code, stream = runtime.cudaStreamCreate()
        if int(code) != 0:
            raise IncompatibleError(
                f"CUDA cannot be used: {_name(code)}", "check the driver: `bertc doctor` shows what it says"
            )
        self.stream = int(stream)

    def device(self, size: int) -> int:
        """The address of memory on the GPU, `size` bytes of it."""
        pointer = int(self._call("cudaMalloc", size))
        self._device.append(pointer)
        return pointer

    def host(self, size: int) -> NDArray[np.uint8]:
        """Page-locked memory of this process, which the GPU copies from and to by itself."""
        pointer = int(self._call("cudaMallocHost", size))
        self._host.append(pointer)
        return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(pointer))

    def upload(self, device: int, host: NDArray[Any]) -> None:
        """Copy contiguous memory to the GPU, after what is before it on the stream."""
        self._copy(device, host.ctypes.data, host.nbytes, _TO_DEVICE)

    def download(self, host: NDArray[Any], device: int) -> None:
        """Copy from the GPU to contiguous memory, after what is before it on the stream."""
        self._copy(host.ctypes.data, device, host.nbytes, _TO_HOST)

    def wait(self) -> None:
        """Until everything on the stream is done."""
        self._call("cudaStreamSynchronize", self.stream)

    def capture(self, enqueue: Callable[[], bool]) -> int | None:
        """What a function puts on the stream, as a CUDA graph to launch; None if it cannot be captured.

        Args:
            enqueue: puts work on the stream and says whether it could; it is recorded, not run.
        """
        self._call("cudaStreamBeginCapture", self.stream, getattr(self._cuda.cudaStreamCaptureMode, _CAPTURE))
        done = enqueue()
        code, graph = self._cuda.cudaStreamEndCapture(self.stream)
        if int(code) != 0 or not done:
            return None
        try:
            ready = self._call("cudaGraphInstantiate", graph, 0)
        finally:
            self._call("cudaGraphDestroy", graph)
        self._graphs.append(ready)
        return len(self._graphs) - 1

    def launch(self, graph: int) -> None:
        """Puts a graph of `capture` on the stream."""
        self._call("cudaGraphLaunch", self._graphs[graph], self.stream)

    def forget_graphs(self) -> None:
        """Frees what was captured."""
        while self._graphs:
            self._call("cudaGraphExecDestroy", self._graphs.pop())

    def close(self) -> None:
        """Frees everything; further calls do nothing."""
        self.forget_graphs()
        while self._device:
            self._call("cudaFree", self._device.pop())
        while self._host:
            self._call("cudaFreeHost", self._host.pop())
        if self.stream:
            self._call("cudaStreamDestroy", self.stream)
            self.stream = 0

    def _copy(self, to: int, source: int, size: int, kind: str) -> None:
        self._call("cudaMemcpyAsync", to, source, size, getattr(self._cuda.cudaMemcpyKind, kind), self.stream)

    def _call(self, name: str, *arguments: Any) -> Any:
        code, *values = getattr(self._cuda, name)(*arguments)
        if int(code) != 0:
            raise InternalError(
                f"CUDA's {name} failed: {_name(code)}", "free GPU memory, or see `bertc doctor`"
            )
        return values[0] if values else None


def _name(code: Any) -> str:
    return str(getattr(code, "name", int(code)))
