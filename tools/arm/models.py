"""A checkpoint in every form that a runtime of ARM might be given."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx_ir as ir

from calibration.data import open_dataset
from calibration.sampler import sample
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.progress import Clock
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.plan import LinearPlan, QuantPlan, QWeight
from compiler.quantize.quantizer import Quantized, adapt, quantize_static
from compiler.texts import items_of, text_feeds
from targets.spec import QuantScheme, Runtime
from tools.arm.subject import Feeds, Subject
from tools.measure import Loaded, load

ASYMMETRIC_S8: Final = QuantScheme("s8", True, 127, "s8", "float")
ASYMMETRIC_U8: Final = QuantScheme("u8", True, 127, "s8", "float")
SYMMETRIC_S8: Final = QuantScheme("s8", False, 127, "s8", "float")
_LARGEST: Final = 127
_MIDDLE: Final[Mapping[bool, int]] = {True: 0, False: 128}


@dataclass(frozen=True, slots=True)
class Form:
    """One way to give a model to a runtime.

    Attributes:
        name: in the table.
        runtime: which runs it.
        scheme: of the linear layers.
        attention: whether attention's products are INT8 too.
        change: what is done to the plan: zero points moved off the middle, or one scale for all columns.
        options: of the session; None takes an option of the artifact away.
    """

    name: str
    runtime: Runtime
    scheme: QuantScheme
    attention: bool = False
    change: Literal["off-centre", "one scale"] | None = None
    options: Mapping[str, str | None] = field(default_factory=dict)


_OWN_PRECISION: Final = {"INFERENCE_PRECISION_HINT": None}
FORMS: Final = (
    Form("onnxruntime, S8 asymmetric", "onnxruntime", ASYMMETRIC_S8),
    Form("onnxruntime, U8 asymmetric", "onnxruntime", ASYMMETRIC_U8),
    Form("onnxruntime, S8 symmetric", "onnxruntime", SYMMETRIC_S8),
    Form("OpenVINO, U8 asymmetric", "openvino", ASYMMETRIC_U8),
    Form("OpenVINO, U8 asymmetric, attention S8", "openvino", ASYMMETRIC_U8, attention=True),
    Form("OpenVINO, S8 symmetric", "openvino", SYMMETRIC_S8),
    Form("OpenVINO, S8 symmetric, one scale", "openvino", SYMMETRIC_S8, change="one scale"),
    Form("OpenVINO, U8, no zero point 128", "openvino", ASYMMETRIC_U8, change="off-centre"),
    Form(
        "OpenVINO, U8, no zero point 128, its own precision",
        "openvino",
        ASYMMETRIC_U8,
        change="off-centre",
        options=_OWN_PRECISION,
    ),
)

INSIDE: Final = "OpenVINO, U8 asymmetric"
"""The form whose layers are looked at one by one."""


class Checkpoint:
    """A checkpoint with texts to calibrate on and others to run."""

    def __init__(self, model: str, calibration: Path, evaluation: Path, samples: int, clock: Clock) -> None:
        self._clock = clock
        with clock.stage("tracing"):
            self._loaded: Loaded = load(model)
            PassManager(encoder_passes(fuse_qkv=False)).run(self._loaded.model)
        self._texts = self._feeds(calibration, 300)
        self.feeds = self._feeds(evaluation, samples)
        self._known: dict[QuantScheme, Quantized] = {}

    @property
    def graph(self) -> ir.Model:
        """The float IR."""
        return self._loaded.model

    def subjects(self, names: Collection[str]) -> Iterator[Subject]:
        """The forms of these names."""
        for place, form in enumerate(FORMS):
            if form.name not in names:
                continue
            quantized = self._quantized(form.scheme)
            plan = quantized.plan if form.attention else _float_attention(quantized.plan, form.scheme)
            plan = replace(plan, linears={name: _CHANGES[form.change](x) for name, x in plan.linears.items()})
            yield Subject(
                f"model-{place}", form.name, "", form.runtime, quantized.model, plan, self.feeds, form.options
            )

    def _feeds(self, path: Path, samples: int) -> Feeds:
        task = self._loaded.checkpoint.task
        items = items_of(sample(open_dataset(path, task), samples, 0), task)
        return text_feeds(items, self._loaded.encoder, windows=task == "question-answering").feeds

    def _quantized(self, scheme: QuantScheme) -> Quantized:
        if scheme not in self._known:
            with self._clock.stage("quantizing"):
                options = QuantizeOptions(threads=1)
                self._known[scheme] = quantize_static(self.graph, self._texts, scheme, options)
        return self._known[scheme]


def _float_attention(plan: QuantPlan, scheme: QuantScheme) -> QuantPlan:
    return adapt(plan, replace(scheme, attention_products="float"))


def _off_centre(plan: LinearPlan) -> LinearPlan:
    """An input whose zero is in the middle of its integers gets one that is a step below, in wider steps."""
    param = plan.input
    if param is None or param.zero_point != _MIDDLE[param.signed]:
        return plan
    moved = replace(param, zero_point=param.zero_point - 1, scale=param.scale * 128 / 127, symmetric=False)
    return replace(plan, input=moved)


def _one_scale(plan: LinearPlan) -> LinearPlan:
    if plan.weight is None:
        return plan
    dense = plan.weight.dequantized()
    scale = np.float32(np.abs(dense).max() / _LARGEST)
    values = np.clip(np.rint(dense / scale), -_LARGEST, _LARGEST).astype(np.int8)
    return replace(plan, weight=QWeight(values, np.full(dense.shape[1], scale, np.float32), 1))


_CHANGES: Final = {None: lambda plan: plan, "off-centre": _off_centre, "one scale": _one_scale}
