"""Engines of TensorRT and TensorRT-RTX."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.errors import FailedRunError, IncompatibleError, InternalError, UsageError
from targets.runtime.backends.base import Array, closed_error
from targets.runtime.backends.cuda import Cuda, load_cuda
from targets.runtime.backends.cuda_graphs import GraphRuns
from targets.runtime.engine.packages import load_tensorrt
from targets.runtime.settings import DYNAMIC, ShapePolicy

RTX: Final = "tensorrt-rtx"
_SEQUENCE: Final = 1


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One input or output: its memory on both sides, as large as its largest shape.

    `per_token` says whether its second axis is the sequence.
    """

    name: str
    dtype: np.dtype[Any]
    device: int
    host: NDArray[np.uint8]
    per_token: bool

    def view(self, shape: Sequence[int]) -> Array:
        """The host's memory as an array."""
        size = prod(shape) * self.dtype.itemsize
        return self.host[:size].view(self.dtype).reshape(tuple(shape))


class TensorRtBackend:
    """An engine on the first GPU.

    Batches larger than the engine's are run in parts; rows shorter than its shortest are padded with
    masked tokens, which outputs of one row for each token lose again. One run at a time: another waits.

    Args:
        engine: an engine's bytes, whose hash has been compared: native code.
        runtime: "tensorrt" or "tensorrt-rtx".
        graphs: the lengths of single texts that are run as CUDA graphs; None runs everything without.

    Raises:
        MissingBackendError: the runtime or cuda-python is not installed.
        IncompatibleError: no GPU, or an engine for another GPU or version.
    """

    def __init__(self, engine: bytes, runtime: str, graphs: ShapePolicy | None = None) -> None:
        """Loads the engine and takes memory for its largest shapes."""
        trt = load_tensorrt(runtime)
        self._lock = threading.Lock()
        self.name = runtime
        self.version = str(trt.__version__)
        self._cuda: Cuda | None = Cuda(load_cuda())
        self._graphs: GraphRuns | None = None
        self._logger = trt.Logger(trt.Logger.ERROR)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(engine)
        if self._engine is None:
            self.close()
            raise IncompatibleError(
                f"{runtime} {self.version} cannot load the engine",
                "compile it for this GPU and this version; `bertc doctor` shows both",
            )
        self._context = _make_context(trt, self._engine, own_graphs=graphs is not None and runtime == RTX)
        names = [self._engine.get_tensor_name(place) for place in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.input_names = tuple(inputs)
        self.output_names = tuple(name for name in names if name not in inputs)
        limits = [self._engine.get_tensor_profile_shape(name, 0) for name in inputs]
        self._least = max(int(low[_SEQUENCE]) for low, _, _ in limits)
        self._most = (
            min(int(high[0]) for _, _, high in limits),
            min(int(high[_SEQUENCE]) for _, _, high in limits),
        )
        self._tensors = {name: self._tensor(trt, name) for name in names}
        self._policy = DYNAMIC if graphs is None else _fitting(graphs, self._least, self._most[1])
        if graphs is not None and runtime != RTX:
            memory = int(self._engine.device_memory_size_v2)
            self._graphs = GraphRuns(self._policy, self._open(), self._context_of, memory)

    def _tensor(self, trt: Any, name: str) -> _Tensor:
        cuda = self._open()
        if name in self.input_names:
            self._context.set_input_shape(name, self._most)
            shape: Sequence[int] = self._most
        else:
            shape = tuple(self._context.get_tensor_shape(name))
        dtype = np.dtype(trt.nptype(self._engine.get_tensor_dtype(name)))
        size = prod(shape) * dtype.itemsize
        declared = tuple(self._engine.get_tensor_shape(name))
        per_token = len(declared) > _SEQUENCE and declared[_SEQUENCE] < 0
        tensor = _Tensor(name, dtype, cuda.device(size), cuda.host(size), per_token)
        self._context.set_tensor_address(name, tensor.device)
        return tensor

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Runs the model; see `targets.runtime.backends.base.Backend.run`.

        Raises:
            UsageError: more tokens than the engine was built for.
        """
        self._open()
        names = self.output_names if outputs is None else tuple(outputs)
        batch, length = next(iter(feeds.values())).shape
        most_rows, most_tokens = self._most
        if length > most_tokens:
            raise UsageError(
                f"{length} tokens in a row", f"this engine was built for at most {most_tokens}: compile again"
            )
        with self._lock:
            parts = [
                self._part({name: feeds[name][start : start + most_rows] for name in self.input_names}, names)
                for start in range(0, batch, most_rows)
            ]
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def _part(self, feeds: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
        cuda = self._open()
        rows, length = feeds[self.input_names[0]].shape
        padded = max(length, self._least)
        for name, array in feeds.items():
            tensor = self._tensors[name]
            view = tensor.view((rows, padded))
            view[:, :length], view[:, length:] = array, 0
            if not self._context.set_input_shape(name, (rows, padded)):
                raise InternalError(f"the engine takes no {name} of {rows} x {padded}", "report this")
            cuda.upload(tensor.device, view)
        launched = self._graphs is not None and self._graphs.launch(rows, padded)
        if not launched and not self._context.execute_async_v3(cuda.stream):
            raise FailedRunError(
                f"{self.name} failed to run the engine", "run `bertc selftest` on the bundle"
            )
        views = {
            name: self._tensors[name].view(tuple(self._context.get_tensor_shape(name))) for name in names
        }
        for name, view in views.items():
            cuda.download(view, self._tensors[name].device)
        cuda.wait()
        return {
            name: np.array(view[:, :length] if self._tensors[name].per_token else view, np.float32)
            for name, view in views.items()
        }

    def padded(self, batch: int, length: int) -> int:
        """The length to pad a run to; see `targets.runtime.backends.base.Shaped`."""
        return length if batch != 1 else self._policy.padded(length) or length

    def prepare(self, lengths: Sequence[int]) -> dict[int, float]:
        """Captures the graphs of single texts of these lengths; seconds by length."""
        with self._lock:
            self._open()
            return {} if self._graphs is None else self._graphs.prepare(lengths)

    @property
    def shapes(self) -> Mapping[int, float]:
        """The lengths that were captured as CUDA graphs, and the seconds that each took."""
        graphs = self._graphs
        return {} if graphs is None else graphs.shapes

    def _context_of(self, length: int) -> Any:
        """An execution context of its own for one text of a length, on the same memory."""
        context = self._engine.create_execution_context()
        for name in self.input_names:
            context.set_input_shape(name, (1, length))
        for name, tensor in self._tensors.items():
            context.set_tensor_address(name, tensor.device)
        return context

    def _open(self) -> Cuda:
        if self._cuda is None:
            raise closed_error()
        return self._cuda

    def close(self) -> None:
        """Releases the engine and its memory, after the run that is being made."""
        with self._lock:
            if self._cuda is not None:
                self._cuda.forget_graphs()
            self._graphs = self._context = self._engine = self._runtime = None
            if self._cuda is not None:
                self._cuda.close()
                self._cuda = None


def _make_context(trt: Any, engine: Any, *, own_graphs: bool) -> Any:
    """An execution context. TensorRT-RTX captures graphs by itself, since it swaps kernels while it runs."""
    if not own_graphs:
        return engine.create_execution_context()
    config = engine.create_runtime_config()
    config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    return engine.create_execution_context(config)


def _fitting(policy: ShapePolicy, least: int, most: int) -> ShapePolicy:
    """The policy's lengths that an engine was built for."""
    within = policy.within(most)
    return replace(within, lengths=tuple(each for each in within.lengths if each >= least))
