"""What the runtimes make of the graph around the products."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import openvino as ov
import pytest

from compiler.ir.encoder import EncoderGraph
from compiler.lower import onnxruntime, openvino
from compiler.lower.artifact import Artifact
from compiler.quantize.plan import QuantPlan
from tests.support.lowered import FLOAT_PRODUCTS, NO_VNNI, S8_PRODUCTS, VNNI, Case, gap, outputs


def test_onnxruntime_keeps_additions_apart_from_layer_norms(case: Case) -> None:
    quantized = case.quantized(FLOAT_PRODUCTS)
    artifact = onnxruntime.lower(quantized.model, quantized.plan, "int8")
    norms = len(EncoderGraph.find(case.model).layers) * 2
    assert artifact.census.operators["Sum"] == norms + 1
    assert artifact.census.operators["LayerNormalization"] == norms + 1
    assert "SkipLayerNormalization" not in artifact.census.operators


def test_residual_additions_compute_the_same(case: Case) -> None:
    artifact = onnxruntime.lower(case.model, QuantPlan(), "fp32")
    assert gap(case.reference(), outputs(artifact, case.feeds)) < 1e-5
    ops = [node.op_type for node in onnx.load_from_string(artifact.files[artifact.main]).graph.node]
    assert "Sum" in ops


@pytest.mark.skipif(not VNNI, reason=NO_VNNI)
def test_openvino_projections_write_int8(case: Case) -> None:
    quantized = case.quantized(S8_PRODUCTS)
    found = _compiled(openvino.lower(quantized.model, quantized.plan, "int8"))
    kinds = [str(node.get_rt_info()["layerType"].get()) for node in found]
    products = [node for node, kind in zip(found, kinds, strict=True) if kind.startswith("FullyConnected")]
    written = [str(node.get_rt_info()["outputPrecisions"].get()) for node in products]
    layers = len(EncoderGraph.find(quantized.model).layers)
    assert written.count("i8") == 3 * layers
    assert written.count("u8") >= layers


def _compiled(artifact: Artifact) -> list[Any]:
    xml, weights = (artifact.files[name] for name in (openvino.XML, openvino.BIN))
    model = ov.Core().read_model(xml, ov.Tensor(np.frombuffer(weights, np.uint8)))
    compiled = ov.Core().compile_model(model, "CPU", artifact.options)
    return list(compiled.get_runtime_model().get_ordered_ops())
