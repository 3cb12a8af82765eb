"""Models on OpenVINO's CPU plugin."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from targets.errors import IncompatibleError, InternalError
from targets.runtime.backends.base import OUTPUT_NAMES, Array, check_options, closed_error

_YES_NO = frozenset({"YES", "NO"})

ALLOWED_OPTIONS: Mapping[str, frozenset[str] | None] = {
    "CPU_DENORMALS_OPTIMIZATION": _YES_NO,
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": None,
    "ENABLE_CPU_PINNING": _YES_NO,
    "ENABLE_HYPER_THREADING": _YES_NO,
    "EXECUTION_MODE_HINT": frozenset({"ACCURACY", "PERFORMANCE"}),
    "INFERENCE_PRECISION_HINT": frozenset({"f32", "bf16", "f16"}),
    "KV_CACHE_PRECISION": frozenset({"f32", "bf16", "f16", "u8"}),
    "NUM_STREAMS": None,
    "PERFORMANCE_HINT": frozenset({"LATENCY", "THROUGHPUT"}),
    "SCHEDULING_CORE_TYPE": frozenset({"ANY_CORE", "PCORE_ONLY", "ECORE_ONLY"}),
}

_DEFAULTS = {
    "PERFORMANCE_HINT": "LATENCY",
    "NUM_STREAMS": "1",
    # Left to itself the plugin computes in bfloat16 or float16 where the CPU has them, unvalidated.
    "INFERENCE_PRECISION_HINT": "f32",
}


class OpenVinoBackend:
    """A model on OpenVINO's CPU plugin.

    Args:
        model: the XML as bytes, or the path of an XML or ONNX file.
        weights: the `.bin` as bytes when `model` is bytes.
        threads: inference threads, at least 1.
        options: each on `ALLOWED_OPTIONS`; they override one stream, the latency hint and float32.

    Raises:
        IncompatibleError: this OpenVINO cannot load the model.
        UnsupportedError: an option off the list.
    """

    name = "openvino"

    def __init__(
        self, model: bytes | Path, weights: bytes | None, *, threads: int, options: Mapping[str, str]
    ) -> None:
        """Loads and compiles the model."""
        check_options(self.name, options, ALLOWED_OPTIONS)
        properties = {**_DEFAULTS, **options, "INFERENCE_NUM_THREADS": str(threads)}
        self.version: str = ov.__version__.split("-", 1)[0]
        try:
            core = ov.Core()
            compiled = core.compile_model(_read(core, model, weights), "CPU", properties)
        except Exception as error:  # OpenVINO raises plain RuntimeError, and its bindings several others
            raise IncompatibleError(
                f"openvino {self.version} cannot load the model: {_reason(error)}",
                'run `bertc verify` on the bundle, or: pip install -U "bertc[openvino]"',
            ) from error
        self._request: Any = compiled.create_infer_request()
        self._lock = threading.Lock()
        self._outputs = {_output_name(port): index for index, port in enumerate(compiled.outputs)}
        self.input_names: tuple[str, ...] = tuple(port.get_any_name() for port in compiled.inputs)
        self.output_names: tuple[str, ...] = tuple(self._outputs)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Runs the model; see `targets.runtime.backends.base.Backend.run`. Calls are made one at a time."""
        names = self.output_names if outputs is None else tuple(outputs)
        with self._lock:
            request = self._request
            if request is None:
                raise closed_error()
            try:
                request.infer(dict(feeds), share_inputs=True, share_outputs=True)
            except Exception as error:  # as above
                raise InternalError(
                    f"openvino failed to run the model: {_reason(error)}",
                    "run `bertc selftest` on the bundle",
                ) from error
            return {name: np.array(request.get_output_tensor(self._outputs[name]).data) for name in names}

    def close(self) -> None:
        """Releases the model."""
        with self._lock:
            self._request = None


def _read(core: Any, model: bytes | Path, weights: bytes | None) -> Any:
    if isinstance(model, Path):
        return core.read_model(str(model))
    tensor = ov.Tensor(np.frombuffer(weights or b"", dtype=np.uint8), shared_memory=False)
    return core.read_model(model, tensor)


def _output_name(port: Any) -> str:
    """The canonical name of an output that may carry the names of several tensors."""
    names = port.get_names()
    return next((name for name in OUTPUT_NAMES if name in names), min(names))


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from src/", "Check '"))]
    return (told or lines or [type(error).__name__])[0][:300]
