"""The models of the comparison: bertc's bundles through their sessions, the peers through their runtimes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from compiler.compile import compile_model
from compiler.ir.execute import serialize
from compiler.progress import Progress
from targets.bundle.reader import Bundle
from targets.runtime.backends import open_backend_from_path
from targets.runtime.backends.base import Backend
from targets.runtime.session import Session
from targets.runtime.settings import Objective
from tools.contestants import BUNDLE_RUNTIMES, Source, bundle_name
from tools.make_peer import make, write_feeds, write_origins
from tools.measure import Loaded
from tools.recipes import RECIPES, Recipe

Feeds = Mapping[str, NDArray[Any]]

PEERS: Final = ("onnxruntime INT8, dynamic", "NNCF INT8, openvino")
HINTS: Final = ("f32", "bf16")


class Runnable(Protocol):
    """What is timed."""

    def run(self, feeds: Feeds) -> object:
        """Answers token ids, int64 [batch, tokens] by input name."""

    def close(self) -> None:
        """Releases the model."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A model that another quantizer made."""

    name: str
    runtime: str
    path: Path

    def open(self, threads: int) -> Backend:
        """As its users run it: the dynamic graph, everything that is not INT8 in float32."""
        return open_backend_from_path(self.runtime, self.path, threads=threads)


@dataclass(frozen=True, slots=True)
class Compiled:
    """A bundle that bertc made."""

    name: str
    path: Path

    def open(self, threads: int, objective: Objective = "latency") -> Session:
        """As its users run it, with its tuning record if it has one."""
        return Bundle.open(self.path).session(threads=threads, objective=objective)


class Reshaped:
    """An OpenVINO model compiled for one shape, its request and input tensors kept."""

    def __init__(self, path: Path, shape: tuple[int, int], hint: str, threads: int) -> None:
        core = ov.Core()
        model = core.read_model(path)
        model.reshape({port.get_any_name(): list(shape) for port in model.inputs})
        properties = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            "INFERENCE_PRECISION_HINT": hint,
        }
        compiled = core.compile_model(model, "CPU", properties)
        self._request: Any = compiled.create_infer_request()
        self._inputs = {
            port.get_any_name(): self._request.get_input_tensor(place).data
            for place, port in enumerate(compiled.inputs)
        }

    def run(self, feeds: Feeds) -> object:
        """Runs the one shape."""
        for name, tensor in self._inputs.items():
            tensor[...] = feeds[name]
        self._request.infer({}, share_inputs=True, share_outputs=True)
        return np.array(self._request.get_output_tensor(0).data)

    def close(self) -> None:
        """Releases the model."""
        self._request = None


def make_peers(
    source: Source, loaded: Loaded, pythons: Mapping[str, str], default: str, folder: Path
) -> list[Peer]:
    """Quantizes the checkpoint with each of `PEERS`, in the variant that its documentation names first.

    Raises:
        PeerError: a peer cannot be made here.
    """
    export = folder / "export.onnx"
    export.write_bytes(serialize(loaded.model))
    origins = write_origins(source, loaded, export, folder)
    feeds = write_feeds(source, loaded, (0,), folder)[0]
    config: Any = loaded.reference.wrapper.model.config
    found = []
    for recipe in _recipes():
        made = make(
            recipe,
            recipe.variants[0],
            pythons.get(recipe.key, default),
            origins[recipe.origin],
            feeds if recipe.calibrated else None,
            folder / recipe.key / "model",
            task=loaded.checkpoint.task,
            heads=int(config.num_attention_heads),
            hidden=int(config.hidden_size),
        )
        found.append(Peer(recipe.name, recipe.runtime, made.path))
    return found


def _recipes() -> Sequence[Recipe]:
    return [recipe for name in PEERS for recipe in RECIPES if recipe.name == name]


def make_bundles(source: Source, folder: Path, progress: Progress) -> list[Compiled]:
    """The INT8 bundle of each runtime; its accuracy is compared elsewhere (`tools.compare_peers`)."""
    found = []
    for runtime in BUNDLE_RUNTIMES:
        result = compile_model(
            source.model,
            folder / runtime,
            runtime=runtime,
            calibration_data=source.calibration,
            calibration_samples=source.samples,
            threads=source.threads,
            progress=progress,
        )
        found.append(Compiled(bundle_name(runtime), result.bundles[0].path))
    return found
