"""Models on OpenVINO's devices."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from targets.errors import BertcError, FailedRunError, IncompatibleError
from targets.runtime.backends.base import OUTPUT_NAMES, Array, closed_error
from targets.runtime.backends.openvino_cache import cache_file, read_cached, write_cached
from targets.runtime.backends.openvino_devices import compile_properties
from targets.runtime.backends.openvino_guard import check_self_contained
from targets.runtime.backends.openvino_shapes import Requests, ShapeModels
from targets.runtime.backends.openvino_static import StaticShapes
from targets.runtime.settings import DYNAMIC, ShapePolicy
from targets.spec import Device


class OpenVinoBackend:
    """A model on one of OpenVINO's devices.

    Args:
        model: the XML as bytes, or the path of an XML or ONNX file.
        weights: the `.bin` as bytes when `model` is bytes.
        threads: inference threads of all streams on the CPU, at least 1.
        options: see `targets.runtime.backends.openvino_devices.compile_properties`.
        streams: runs computed side by side, on the CPU.
        shapes: the shapes compiled for themselves, on the CPU; none with more than one stream, which they
            would halt.
        cached: the bundle whose compiled model is kept in the user's cache folder; None to keep nothing.
            Only of the CPU's model of dynamic shape: what other devices compile depends on their driver.
        device: that the model is compiled on.
        lengths: in tokens, ascending; where there are any, models of one text and one of these are compiled
            and no other, and `run` takes no other length.

    Raises:
        IncompatibleError: this OpenVINO cannot load the model, or has no such device.
        UnsupportedError: an option that the device does not take, or a model from bytes with operators of
            extensions.
        IntegrityError: bytes that are no model, or that point beyond the weights.
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
        device: Device = "CPU",
        lengths: Sequence[int] = (),
    ) -> None:
        """Loads and compiles the model."""
        properties = compile_properties(device, options, threads, streams)
        if isinstance(model, bytes):
            check_self_contained(model, weights or b"")
        self.version: str = ov.__version__.split("-", 1)[0]
        try:
            core = ov.Core()
            read = partial(_read, core, model, weights)
            if lengths:
                self._models: _AnyShape | StaticShapes = StaticShapes(core, read, device, properties, lengths)
            else:
                kept = cached if device == "CPU" else None
                compiled = _compiled(core, read, device, properties, kept)
                wanted = shapes if device == "CPU" and streams == 1 else DYNAMIC
                size = len(weights) if weights is not None else 0
                own = ShapeModels(core, read, properties, wanted, size)
                self._models = _AnyShape(compiled, streams if device == "CPU" else 1, own)
        except Exception as error:  # OpenVINO raises plain RuntimeError, and its bindings several others
            raise IncompatibleError(
                f"openvino {self.version} cannot load the model on the {device}: {_reason(error)}",
                'run `bertc check-device` on the bundle, or: pip install -U "bertc[openvino]"',
            ) from error
        network = self._models.network
        self._outputs = {_output_name(port): index for index, port in enumerate(network.outputs)}
        self.input_names: tuple[str, ...] = tuple(port.get_any_name() for port in network.inputs)
        self.output_names: tuple[str, ...] = tuple(self._outputs)
        self.output_widths: Mapping[str, int] = {
            name: shape[-1].get_length()
            for name, index in self._outputs.items()
            if len(shape := _shape(network.outputs[index])) and shape[-1].is_static
        }
        if not lengths and shapes.when == "ahead":
            self._models.prepare(shapes.lengths)

    @property
    def shapes(self) -> Mapping[int, float]:
        """The lengths of the models of one shape that are there, and the seconds that each took."""
        return self._models.seconds

    def padded(self, batch: int, length: int) -> int:
        """See `targets.runtime.backends.base.Shaped.padded`."""
        return self._models.padded(batch, length)

    def prepare(self, lengths: Sequence[int]) -> dict[int, float]:
        """See `targets.runtime.backends.base.Shaped.prepare`."""
        return self._models.prepare(lengths)

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Runs the model; see `targets.runtime.backends.base.Backend.run`. More calls than streams wait.

        Raises:
            UsageError: a length other than the fixed ones, or the backend was closed.
        """
        names = self.output_names if outputs is None else tuple(outputs)
        places = [self._outputs[name] for name in names]
        try:
            return dict(zip(names, self._models.run(feeds, places), strict=True))
        except BertcError:
            raise
        except Exception as error:  # as above
            raise FailedRunError(
                f"openvino failed to run the model: {_reason(error)}",
                "run `bertc selftest` on the bundle",
            ) from error

    def close(self) -> None:
        """Releases the model."""
        self._models.close()


class _AnyShape:
    """The model of dynamic shape, and those of one shape beside it."""

    def __init__(self, compiled: Any, streams: int, own: ShapeModels) -> None:
        self.network = compiled
        self._requests: Requests | None = Requests(compiled, streams)
        self._own = own
        self.padded = own.padded

    @property
    def seconds(self) -> Mapping[int, float]:
        return self._own.seconds

    def prepare(self, lengths: Sequence[int]) -> dict[int, float]:
        if self._requests is None:
            raise closed_error()
        return self._own.prepare(lengths)

    def run(self, feeds: Mapping[str, Array], places: Sequence[int]) -> list[Array]:
        dynamic = self._requests
        if dynamic is None:
            raise closed_error()
        requests = self._own.find(feeds["input_ids"].shape) or dynamic
        with requests.one() as request:
            request.infer(feeds)
            return [request.output(place) for place in places]

    def close(self) -> None:
        self.network = self._requests = None
        self._own.close()


def _compiled(
    core: Any, read: Callable[[], Any], device: Device, properties: Mapping[str, str], cached: str | None
) -> Any:
    if cached is None:
        return core.compile_model(read(), device, properties)
    path = cache_file(cached, ov.__version__, properties)
    blob = read_cached(path)
    if blob is not None:
        # What OpenVINO refuses is another version's, or damaged.
        with contextlib.suppress(RuntimeError):
            return core.import_model(blob, device, properties)
    compiled = core.compile_model(read(), device, properties)
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


def _shape(port: Any) -> Any:
    """A port's shape; nothing where not even its number of axes is known."""
    shape = port.get_partial_shape()
    return () if shape.rank.is_dynamic else shape


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from src/", "Check '"))]
    return (told or lines or [type(error).__name__])[0][:300]
