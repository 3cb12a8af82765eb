"""Models on OpenVINO's CPU plugin."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from targets.errors import IncompatibleError, InternalError
from targets.runtime.backends.base import OUTPUT_NAMES, Array, check_options, closed_error
from targets.runtime.backends.openvino_cache import cache_file, read_cached, write_cached
from targets.runtime.backends.openvino_shapes import Requests, ShapeModels
from targets.runtime.settings import DYNAMIC, ShapePolicy

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
        threads: inference threads of all streams, at least 1.
        options: each on `ALLOWED_OPTIONS`; they override the latency hint and float32.
        streams: runs computed side by side.
        shapes: the shapes compiled for themselves; none with more than one stream, which they would halt.
        cached: the bundle whose compiled model is kept in the user's cache folder; None to keep nothing.

    Raises:
        IncompatibleError: this OpenVINO cannot load the model.
        UnsupportedError: an option off the list.
    """

    name = "openvino"

    def __init__(
        self,
        model: bytes | Path,
        weights: bytes | None,
        *,
        threads: int,
        options: Mapping[str, str],
        streams: int = 1,
        shapes: ShapePolicy = DYNAMIC,
        cached: str | None = None,
    ) -> None:
        """Loads and compiles the model."""
        check_options(self.name, options, ALLOWED_OPTIONS)
        properties = {**_DEFAULTS, **options, "INFERENCE_NUM_THREADS": str(threads)}
        if streams > 1:
            properties["NUM_STREAMS"] = str(streams)
        self.version: str = ov.__version__.split("-", 1)[0]
        try:
            core = ov.Core()
            compiled = _compiled(core, model, weights, properties, cached)
        except Exception as error:  # OpenVINO raises plain RuntimeError, and its bindings several others
            raise IncompatibleError(
                f"openvino {self.version} cannot load the model: {_reason(error)}",
                'run `bertc verify` on the bundle, or: pip install -U "bertc[openvino]"',
            ) from error
        self._requests: Requests | None = Requests(compiled, streams)
        self._outputs = {_output_name(port): index for index, port in enumerate(compiled.outputs)}
        self.input_names: tuple[str, ...] = tuple(port.get_any_name() for port in compiled.inputs)
        self.output_names: tuple[str, ...] = tuple(self._outputs)
        size = len(weights) if weights is not None else 0
        wanted = shapes if streams == 1 else DYNAMIC
        self._shapes = ShapeModels(core, lambda: _read(core, model, weights), properties, wanted, size)
        if wanted.when == "ahead":
            self._shapes.prepare(wanted.lengths)

    @property
    def shapes(self) -> Mapping[int, float]:
        """The lengths of the models of one shape that are there, and the seconds that each took."""
        return self._shapes.seconds

    def padded(self, batch: int, length: int) -> int:
        """See `targets.runtime.backends.base.Shaped.padded`."""
        return self._shapes.padded(batch, length)

    def prepare(self, lengths: Sequence[int]) -> dict[int, float]:
        """See `targets.runtime.backends.base.Shaped.prepare`."""
        return self._shapes.prepare(lengths)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Runs the model; see `targets.runtime.backends.base.Backend.run`. More calls than streams wait."""
        names = self.output_names if outputs is None else tuple(outputs)
        dynamic = self._requests
        if dynamic is None:
            raise closed_error()
        requests = self._shapes.find(feeds["input_ids"].shape) or dynamic
        try:
            with requests.one() as request:
                request.infer(feeds)
                return {name: request.output(self._outputs[name]) for name in names}
        except Exception as error:  # as above
            raise InternalError(
                f"openvino failed to run the model: {_reason(error)}",
                "run `bertc selftest` on the bundle",
            ) from error

    def close(self) -> None:
        """Releases the model."""
        self._requests = None
        self._shapes.close()


def _compiled(
    core: Any, model: bytes | Path, weights: bytes | None, properties: Mapping[str, str], cached: str | None
) -> Any:
    if cached is None:
        return core.compile_model(_read(core, model, weights), "CPU", properties)
    path = cache_file(cached, ov.__version__, properties)
    blob = read_cached(path)
    if blob is not None:
        # What OpenVINO refuses is another version's, or damaged.
        with contextlib.suppress(RuntimeError):
            return core.import_model(blob, "CPU", properties)
    compiled = core.compile_model(_read(core, model, weights), "CPU", properties)
    write_cached(path, _exported(compiled))
    return compiled


def _exported(compiled: Any) -> bytes:
    stream = io.BytesIO()
    compiled.export_model(stream)
    return stream.getvalue()


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
