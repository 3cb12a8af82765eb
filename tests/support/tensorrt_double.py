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
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815
    capturing: CudaDouble | None = None

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.calls: list[str] = []
        self.memory: dict[int, Any] = {}
        self.device: set[int] = set()
        self.pending = False
        self.recorded: list[Callable[[], None]] = []
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.ready: dict[int, list[Callable[[], None]]] = {}

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Code]:  # noqa: N802
        assert (stream, mode) == (77, 1)
        assert CudaDouble.capturing is None
        assert not self.pending, "what is on the stream would be recorded"
        CudaDouble.capturing, self.recorded = self, []
        return (self._code("cudaStreamBeginCapture"),)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Code, int]:  # noqa: N802
        assert stream == 77
        assert CudaDouble.capturing is self
        CudaDouble.capturing = None
        self.graphs[1000 + len(self.graphs)] = self.recorded
        return self._code("cudaStreamEndCapture"), 1000 + len(self.graphs) - 1

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Code, int]:  # noqa: N802
        assert flags == 0
        self.ready[graph + 1000] = self.graphs[graph]
        return self._code("cudaGraphInstantiate"), graph + 1000

    def cudaGraphDestroy(self, graph: int) -> tuple[Code]:  # noqa: N802
        assert graph in self.graphs
        return (self._code("cudaGraphDestroy"),)

    def cudaGraphLaunch(self, graph_exec: int, stream: int) -> tuple[Code]:  # noqa: N802
        assert stream == 77
        for work in self.ready[graph_exec]:
            work()
        return (self._code("cudaGraphLaunch"),)

    def cudaGraphExecDestroy(self, graph_exec: int) -> tuple[Code]:  # noqa: N802
        del self.ready[graph_exec]
        return (self._code("cudaGraphExecDestroy"),)

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
        assert CudaDouble.capturing is None
        on_device = to if kind == 1 else source
        assert on_device in self.device
        assert size <= ctypes.sizeof(self.memory[on_device])
        ctypes.memmove(to, source, size)
        self.pending = True
        return (self._code("cudaMemcpyAsync"),)

    def cudaStreamSynchronize(self, stream: int) -> tuple[Code]:  # noqa: N802
        assert stream == 77
        assert CudaDouble.capturing is None, "a stream that records cannot be waited for"
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
        self.executed = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name in self.engine.inputs
        low, _, high = self.engine.limits
        fits = all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True))
        if fits:
            self.shapes[name] = tuple(shape)
        return fits

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self.engine.inputs:
            return self.shapes[name]
        assert set(self.shapes) == set(self.engine.inputs), "every input's shape comes first"
        feeds = {each: np.zeros(self.shapes[each], np.int64) for each in self.engine.inputs}
        return self.engine.model(feeds)[name].shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        assert stream_handle == 77
        assert set(self.addresses) == {*self.engine.inputs, *self.engine.outputs}, (
            "every tensor has an address"
        )
        self.executed += 1
        if CudaDouble.capturing is None:
            self._compute()
        else:
            assert self.executed > 1, "TensorRT settles what a shape needs in a run before"
            CudaDouble.capturing.recorded.append(self._compute)
        return True

    def _compute(self) -> None:
        feeds = {
            name: np.ctypeslib.as_array(
                (ctypes.c_int64 * int(np.prod(self.shapes[name]))).from_address(self.addresses[name])
            ).reshape(self.shapes[name])
            for name in self.engine.inputs
        }
        for name, array in self.engine.model({name: each.copy() for name, each in feeds.items()}).items():
            data = np.ascontiguousarray(array, np.float32)
            ctypes.memmove(self.addresses[name], data.ctypes.data, data.nbytes)


class Engine:
    """ICudaEngine over a Python function of the feeds."""

    def __init__(
        self, model: Model, limits: tuple[tuple[int, int], ...], inputs: tuple[str, ...] = INPUTS
    ) -> None:
        self.model, self.limits, self.inputs = model, limits, inputs
        self.outputs = tuple(model({name: np.zeros(limits[0], np.int64) for name in inputs}))
        self.num_io_tensors = len(inputs) + len(self.outputs)
        self.contexts: list[Any] = []

    device_memory_size_v2 = 3 << 20

    def create_runtime_config(self) -> Any:
        return SimpleNamespace(cuda_graph_strategy="DISABLED")

    def create_execution_context(self, runtime_config: Any = None) -> Context:
        self.contexts.append(runtime_config)
        return Context(self)

    def get_tensor_name(self, index: int) -> str:
        return (*self.inputs, *self.outputs)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name in self.inputs else "OUTPUT"

    def get_tensor_dtype(self, name: str) -> str:
        return "INT64" if name in self.inputs else "FLOAT"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        """With -1 for what differs between the least and the largest input."""
        if name in self.inputs:
            return (-1, -1)
        low, high = (
            self.model({each: np.zeros(limit, np.int64) for each in self.inputs})[name].shape
            for limit in (self.limits[0], self.limits[-1])
        )
        return tuple(a if a == b else -1 for a, b in zip(low, high, strict=True))

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> tuple[tuple[int, int], ...]:
        assert name in self.inputs
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
        CudaGraphStrategy=SimpleNamespace(WHOLE_GRAPH_CAPTURE="WHOLE"),
        TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"),
        nptype=lambda kind: {"INT64": np.int64, "FLOAT": np.float32}[kind],
    )


class BuilderDouble:
    """The building half of the module `tensorrt` 10, which records what is asked of it, in order.

    A "graph" is ONNX bytes, and the "engine" that is built of them a name for them; onnxruntime computes what
    the graph says.
    """

    def __init__(self, limits: tuple[tuple[int, int], ...], *, refuses: str = "") -> None:
        self.limits, self.refuses = limits, refuses
        self.calls: list[tuple[Any, ...]] = []
        self.engines: dict[bytes, Engine] = {}

    def module(self) -> Any:
        """The module."""
        double = self
        record = self.calls.append

        class ILogger:
            INTERNAL_ERROR, ERROR = 0, 1

            def __init__(self) -> None:
                pass

        class IProgressMonitor:
            def __init__(self) -> None:
                pass

        class Profile:
            def set_shape(self, name: str, low: Any, opt: Any, high: Any) -> None:
                record(("set_shape", name, low, opt, high))

        class Cache:
            def serialize(self) -> bytes:
                return b"timings"

        class Config:
            progress_monitor: Any = None

            def set_memory_pool_limit(self, pool: str, size: int) -> None:
                record(("set_memory_pool_limit", pool, size))

            def set_flag(self, flag: str) -> None:
                record(("set_flag", flag))

            def create_timing_cache(self, serialized: bytes) -> Cache:
                record(("create_timing_cache", serialized))
                return Cache()

            def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
                assert isinstance(cache, Cache)
                record(("set_timing_cache", ignore_mismatch))
                return True

            def get_timing_cache(self) -> Cache:
                return Cache()

            def add_optimization_profile(self, profile: Profile) -> int:
                assert isinstance(profile, Profile)
                record(("add_optimization_profile",))
                return 0

        class Network:
            graph = b""

            @property
            def num_inputs(self) -> int:
                return len(double.engine_of(self.graph).inputs)

            def get_input(self, index: int) -> Any:
                return SimpleNamespace(name=double.engine_of(self.graph).inputs[index])

        class OnnxParser:
            def __init__(self, network: Network, logger: ILogger) -> None:
                assert isinstance(logger, ILogger)
                self.network = network

            num_errors = 1

            def get_error(self, index: int) -> Any:
                assert index == 0
                return SimpleNamespace(desc=lambda: "node 3 (MatMul): no")

            def parse(self, model: bytes) -> bool:
                record(("parse", len(model)))
                self.network.graph = model
                return double.refuses != "parse"

        class Builder:
            def __init__(self, logger: ILogger) -> None:
                self.logger: Any = logger

            def create_network(self, flags: int) -> Network:
                record(("create_network", flags))
                return Network()

            def create_builder_config(self) -> Config:
                return Config()

            def create_optimization_profile(self) -> Profile:
                return Profile()

            def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
                record(("build_serialized_network",))
                if double.refuses == "build":
                    self.logger.log(ILogger.ERROR, "no kernel was found")
                    return None
                config.progress_monitor.phase_start("Building Engine", None, 2)
                assert config.progress_monitor.step_complete("Building Engine", 0)
                config.progress_monitor.phase_finish("Building Engine")
                engine = double.engine_of(network.graph)
                name = b"engine %d" % len(double.engines)
                double.engines[name] = engine
                return name

        running = tensorrt_double(None)

        class Runtime:
            def __init__(self, logger: Any) -> None:
                assert isinstance(logger, running.Logger)

            def deserialize_cuda_engine(self, serialized_engine: bytes) -> Engine | None:
                return double.engines.get(serialized_engine)

        return SimpleNamespace(
            __version__=running.__version__,
            Logger=running.Logger,
            ILogger=ILogger,
            IProgressMonitor=IProgressMonitor,
            Builder=Builder,
            OnnxParser=OnnxParser,
            Runtime=Runtime,
            TensorIOMode=running.TensorIOMode,
            nptype=running.nptype,
            MemoryPoolType=SimpleNamespace(WORKSPACE="WORKSPACE"),
            BuilderFlag=SimpleNamespace(VERSION_COMPATIBLE="VERSION_COMPATIBLE"),
            NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1),
        )

    def engine_of(self, graph: bytes) -> Engine:
        """What a graph computes, on onnxruntime."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        names = [each.name for each in session.get_outputs()]

        def model(feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            return dict(zip(names, session.run(names, feeds), strict=True))

        return Engine(model, self.limits, tuple(each.name for each in session.get_inputs()))
