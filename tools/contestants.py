"""The models that the tools compare: the checkpoint in torch, onnxruntime and OpenVINO, and its bundles."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx_ir as ir
import torch
from numpy.typing import NDArray

from compiler.compile import compile_model
from compiler.frontend.torch_model import TorchReference
from compiler.ir.execute import serialize
from compiler.options import RuntimeChoice
from compiler.progress import Progress
from compiler.torch_backend import TorchBackend
from targets.bundle.reader import Bundle
from targets.runtime.backends import open_backend, open_backend_from_path
from targets.runtime.backends.base import Backend

BASELINE = "torch FP32"
BUNDLE_RUNTIMES: Final[tuple[RuntimeChoice, ...]] = ("onnxruntime", "openvino")


@dataclass(frozen=True, slots=True)
class Contestant:
    """A loaded model.

    Attributes:
        name: in the table.
        backend: which runs it.
        model_bytes: of its weights, or of the files that its runtime loads.
        bundle: the bundle that it is in, if it is in one.
    """

    name: str
    backend: Backend
    model_bytes: int
    bundle: Path | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint with its data, and how to run and compile it."""

    model: str
    calibration: Path
    evaluation: Path
    samples: int
    threads: int


def torch_contestants(reference: TorchReference) -> list[Contestant]:
    """The checkpoint's module, with the attention that transformers chooses and with the traced one."""
    weights = _weight_bytes(reference.wrapper)
    return [
        Contestant(BASELINE, TorchBackend(reference, attention="sdpa"), weights),
        Contestant("torch FP32, eager attention", TorchBackend(reference, attention="eager"), weights),
    ]


def torch_bf16_contestant(reference: TorchReference) -> Contestant:
    """The whole module in bfloat16, with the attention that transformers chooses."""
    wrapper = copy.deepcopy(reference.wrapper).to(torch.bfloat16)
    widened = _Bfloat16Reference(wrapper, reference.output_names)
    return Contestant("torch BF16", TorchBackend(widened, attention="sdpa"), _weight_bytes(wrapper))


class _Bfloat16Reference(TorchReference):
    """A module in bfloat16; its outputs are widened, because numpy has no such type."""

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        tensors = {name: torch.from_numpy(feeds[name]) for name in self.wrapper.input_names}
        with torch.inference_mode():
            values = self.wrapper(**tensors)
        return {name: value.float().numpy() for name, value in zip(self.output_names, values, strict=True)}


def _weight_bytes(module: torch.nn.Module) -> int:
    return sum(each.numel() * each.element_size() for each in module.parameters())


def onnx_contestant(traced: ir.Model, threads: int) -> Contestant:
    """The graph as it was exported, with onnxruntime's own optimizations."""
    data = serialize(traced)
    return Contestant(
        "onnxruntime FP32, as exported", open_backend("onnxruntime", data, threads=threads), len(data)
    )


def openvino_contestants(exported: Path, threads: int) -> list[Contestant]:
    """The graph as it was exported on OpenVINO, computed in float32 and in bfloat16."""
    return [
        Contestant(
            f"OpenVINO {name}",
            open_backend_from_path(
                "openvino", exported, threads=threads, options={"INFERENCE_PRECISION_HINT": hint}
            ),
            exported.stat().st_size,
        )
        for name, hint in (("FP32", "f32"), ("BF16", "bf16"))
    ]


def file_contestant(name: str, runtime: str, path: Path, threads: int) -> Contestant:
    """A model that another tool wrote: an ONNX file, or the XML of an OpenVINO model beside its weights."""
    files = [path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]
    size = sum(each.stat().st_size for each in files)
    return Contestant(name, open_backend_from_path(runtime, path, threads=threads), size)


def bundle_contestants(
    source: Source, folder: Path, progress: Progress, *, seed: int = 0
) -> list[Contestant]:
    """The compiled INT8 bundle of each runtime, calibrated on the sample that `seed` draws.

    The gate is open, so that a loss is shown and not refused.
    """
    found = []
    for runtime in BUNDLE_RUNTIMES:
        result = compile_model(
            source.model,
            folder / runtime,
            runtime=runtime,
            calibration_data=source.calibration,
            calibration_samples=source.samples,
            eval_data=source.evaluation,
            max_drop=1.0,
            seed=seed,
            threads=source.threads,
            progress=progress,
        ).bundles[0]
        session = Bundle.open(result.path).session(threads=source.threads)
        name = bundle_name(runtime)
        found.append(Contestant(name, session.backend, result.model_bytes, result.path))
    return found


def bundle_name(runtime: str) -> str:
    """What a bundle is called in the tables."""
    return f"bertc INT8, {runtime}"


def backends(contestants: Sequence[Contestant]) -> dict[str, Backend]:
    """The backends by name."""
    return {each.name: each.backend for each in contestants}
