"""One tiny encoder, quantized for either scheme, and artifacts opened as a device opens them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.frontend.export import TracedModel
from compiler.ir.execute import Runner
from compiler.lower import onnxruntime, openvino
from compiler.lower.artifact import Artifact
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.quantizer import Quantized, quantize_static
from targets.detect import machine
from targets.runtime.backends import open_backend
from targets.spec import QuantScheme
from tests.support.parity import Feeds, random_feeds

S8_PRODUCTS = QuantScheme("u8", True, 127, "s8", "float")
FLOAT_PRODUCTS = QuantScheme("u8", True, 127, "float", "float")
LOWER = {"onnxruntime": onnxruntime.lower, "openvino": openvino.lower}
VNNI = not machine().missing_features((("avx512_vnni", "avx_vnni"),))
NO_VNNI = "OpenVINO's INT8 attention and dynamic quantization need a CPU with VNNI"


@dataclass
class Case:
    """A float graph after the passes, what it computes, and its plans by scheme."""

    model: ir.Model
    feeds: list[Feeds]
    plans: dict[tuple[QuantScheme, bool], Quantized] = field(default_factory=dict)

    def quantized(self, scheme: QuantScheme, *, smooth: bool = True) -> Quantized:
        """The static plan of a scheme, made once."""
        if (scheme, smooth) not in self.plans:
            options = QuantizeOptions(smooth=smooth, threads=1)
            self.plans[scheme, smooth] = quantize_static(self.model, self.feeds, scheme, options)
        return self.plans[scheme, smooth]

    def reference(self) -> list[dict[str, NDArray[Any]]]:
        """The float outputs of every batch."""
        runner = Runner(self.model, threads=1)
        return [runner(each) for each in self.feeds]


def make_case(traced: Callable[..., TracedModel], task: str = "text-classification", **options: Any) -> Case:
    """Trace a tiny BERT and run every pass on it."""
    model = traced("bert", task, **options).model
    PassManager(encoder_passes(fuse_qkv=False)).run(model)
    feeds = [random_feeds(4, 16, vocab_size=300, seed=seed) for seed in range(3)]
    return Case(model, [*feeds, random_feeds(2, 9, vocab_size=300, seed=9)])


def outputs(artifact: Artifact, feeds: list[Feeds]) -> list[dict[str, NDArray[Any]]]:
    """What an artifact computes in its own runtime on one thread, given the inputs that it reads."""
    main = artifact.files[artifact.main]
    weights = next((data for path, data in artifact.files.items() if path != artifact.main), None)
    backend = open_backend(artifact.runtime, main, weights, threads=1, options=artifact.options)
    try:
        return [backend.run({name: each[name] for name in backend.input_names}) for each in feeds]
    finally:
        backend.close()


def gap(one: list[dict[str, NDArray[Any]]], other: list[dict[str, NDArray[Any]]]) -> float:
    """The largest difference of two lists of outputs that must agree in names and shapes."""
    worst = 0.0
    for first, second in zip(one, other, strict=True):
        assert first.keys() == second.keys()
        worst = max(worst, *(float(np.abs(first[name] - second[name]).max()) for name in first))
    return worst
