"""Doubles of the `tensorrt` and CUDA modules, to test which calls are made of them: no run of an engine.

They hold what TensorRT 10's and cuda-python's documentation says of the calls that bertc makes: names,
arguments, order and what may not be done. An "engine" here is a Python function; memory on the "GPU" is
memory of this process, so that copies and addresses are checked by what arrives.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Model = Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]
INPUTS = ("input_ids", "attention_mask")


class Code(IntEnum):
    """Of cudaError_t."""

    cudaSuccess = 0  # noqa: N815
    cudaErrorMemoryAllocation = 2  # noqa: N815
    cudaErrorNoDevice = 100  # noqa: N815


class CudaDouble:
    """cuda.bindings.runtime: every call returns a tuple that begins with its error code."""

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.calls: list[str] = []
        self.memory: dict[int, Any] = {}
        self.device: set[int] = set()
        self.pending = False

    def _code(self, name: str) -> Code:
        self.calls.append(name)
        if name != self.fails:
            return Code.cudaSuccess
        return Code.cudaErrorNoDevice if name == "cudaStreamCreate" else Code.cudaErrorMemoryAllocation

    def cudaStreamCreate(self) -> tuple[Code, int]:  # noqa: N802
        return self._code("cudaStreamCreate"), 77

    def cudaStreamDestroy(self, stream: int) -> tuple[Code]:  # noqa: N802
        assert stream == 77
        return (self._code("cudaStreamDestroy"),)

    def cudaMalloc(self, size: int) -> tuple[Code, int]:  # noqa: N802
        pointer = self._allocate(size)
        self.device.add(pointer)
        return self._code("cudaMalloc"), pointer

    def cudaMallocHost(self, size: int) -> tuple[Code, int]:  # noqa: N802
        return self._code("cudaMallocHost"), self._allocate(size)

    def cudaFree(self, pointer: int) -> tuple[Code]:  # noqa: N802
        assert pointer in self.device
        del self.memory[pointer]
        return (self._code("cudaFree"),)

    def cudaFreeHost(self, pointer: int) -> tuple[Code]:  # noqa: N802
        assert pointer not in self.device
        del self.memory[pointer]
        return (self._code("cudaFreeHost"),)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[Code]:  # noqa: N802
        assert stream == 77
        on_device = to if kind == 1 else source
        assert on_device in self.device
        assert size <= ctypes.sizeof(self.memory[on_device])
        ctypes.memmove(to, source, size)
        self.pending = True
        return (self._code("cudaMemcpyAsync"),)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Code]:  # noqa: N802
        assert stream == 77
        self.pending = False
        return (self._code("cudaStreamSynchronize"),)

    def _allocate(self, size: int) -> int:
        assert size > 0
        buffer = ctypes.create_string_buffer(size)
        pointer = ctypes.addressof(buffer)
        self.memory[pointer] = buffer
        return pointer


class Context:
    """IExecutionContext."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name in INPUTS
        low, _, high = self.engine.limits
        fits = all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
        if fits:
            self.shapes[name] = tuple(shape)
        return fits

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in INPUTS:
            return self.shapes[name]
        assert set(self.shapes) == set(INPUTS), "every input's shape comes first"
        feeds = {each: np.zeros(self.shapes[each], np.int64) for each in INPUTS}
        return self.engine.model(feeds)[name].shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle == 77
        assert set(self.addresses) == {*INPUTS, *self.engine.outputs}, "every tensor has an address"
        feeds = {
            name: np.ctypeslib.as_array(
                (ctypes.c_int64 * int(np.prod(self.shapes[name]))).from_address(self.addresses[name])
            ).reshape(self.shapes[name])
            for name in INPUTS
        }
        for name, array in self.engine.model({name: each.copy() for name, each in feeds.items()}).items():
            data = np.ascontiguousarray(array, np.float32)
            ctypes.memmove(self.addresses[name], data.ctypes.data, data.nbytes)
        return True


class Engine:
    """ICudaEngine over a Python function of the feeds."""

    def __init__(self, model: Model, limits: tuple[tuple[int, int], ...]) -> None:
        self.model, self.limits = model, limits
        self.outputs = tuple(model({name: np.zeros(limits[0], np.int64) for name in INPUTS}))
        self.num_io_tensors = len(INPUTS) + len(self.outputs)

    def create_execution_context(self) -> Context:
        return Context(self)

    def get_tensor_name(self, index: int) -> str:
        return (*INPUTS, *self.outputs)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name in INPUTS else "OUTPUT"

    def get_tensor_dtype(self, name: str) -> str:
        return "INT64" if name in INPUTS else "FLOAT"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """With -1 for what differs between the least and the largest input."""
        if name in INPUTS:
            return (-1, -1)
        low, high = (
            self.model({each: np.zeros(limit, np.int64) for each in INPUTS})[name].shape
            for limit in (self.limits[0], self.limits[-1])
        )
        return tuple(a if a == b else -1 for a, b in zip(low, high, strict=True))

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> tuple[tuple[int, int], ...]:
        assert name in INPUTS
        assert profile_index == 0
        return self.limits


def tensorrt_double(engine: Engine | None) -> Any:
    """The module `tensorrt`, whose Runtime makes this engine of the bytes b"engine"."""

    class Logger:
        ERROR = 2

        def __init__(self, severity: int) -> None:
            assert severity == self.ERROR

    class Runtime:
        def __init__(self, logger: Logger) -> None:
            assert isinstance(logger, Logger)

        def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
            assert serialized_engine == b"engine"
            return engine

    return SimpleNamespace(
        __version__="10.13.3",
        Logger=Logger,
        Runtime=Runtime,
        TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"),
        nptype=lambda kind: {"INT64": np.int64, "FLOAT": np.float32}[kind],
    )
