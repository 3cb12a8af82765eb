"""Profiles of INT8 models, and of the products that they are compared with."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.ir.linear import linears_of
from compiler.lower import onnxruntime, openvino
from targets.runtime.profile.onnxruntime import OnnxRuntimeProfiler
from targets.runtime.profile.openvino import OpenVinoProfiler
from targets.runtime.profile.record import Node, by_kind
from targets.runtime.profile.tiny_onnx import int8_product
from tests.support.lowered import FLOAT_PRODUCTS, Case

SECONDS = 0.05


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_the_written_product_is_what_numpy_computes(inputs: int, outputs: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.integers(-128, 128, (inputs, outputs), dtype=np.int8)
    data = int8_product(rows, weight)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    # Values of 0 and 1 saturate on no CPU.
    values = rng.integers(0, 2, (rows, inputs), dtype=np.uint8)
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"input": values})
    np.testing.assert_array_equal(found, values.astype(np.int32) @ weight.astype(np.int32))


def test_both_runtimes_compute_the_same_products(case: Case) -> None:
    quantized = case.quantized(FLOAT_PRODUCTS)
    feeds = case.feeds[0]
    rows, length = feeds["input_ids"].shape
    artifacts = (
        onnxruntime.lower(quantized.model, quantized.plan, "int8"),
        openvino.lower(quantized.model, quantized.plan, "int8"),
    )
    planned = {
        name: (len(each.weight.values), each.weight.values.shape[1])
        for name, each in quantized.plan.linears.items()
        if each.weight is not None and each.decision.compute == "int8"
    }
    assert len(planned) == len(linears_of(quantized.model.graph))
    found = []
    for artifact in artifacts:
        main = artifact.files[artifact.main]
        if artifact.runtime == "onnxruntime":
            nodes, seconds = OnnxRuntimeProfiler(main, 1, artifact.options).nodes(feeds, SECONDS)
        else:
            weights = artifact.files[openvino.BIN]
            nodes, seconds = OpenVinoProfiler(main, weights, 1, artifact.options).nodes(feeds, SECONDS)
        products = [node for node in nodes if node.macs]
        assert seconds > 0
        assert all(node.kind.endswith(" INT8") and node.seconds > 0 for node in products)
        assert sorted(node.widths for node in products) == sorted(planned.values())
        per_row = {node.macs // (node.widths[0] * node.widths[1]) for node in products}
        assert per_row <= {rows * length, rows}
        found.append(sum(node.macs for node in products))
    assert found[0] == found[1]


@pytest.mark.parametrize("rows", [3, 64])
def test_the_rate_of_one_product(rows: int) -> None:
    for profiler in (OnnxRuntimeProfiler(b"", 1, {}), _openvino()):
        assert 1e8 < profiler.rate(rows, 128, 256, SECONDS) < 1e13


def _openvino() -> OpenVinoProfiler:
    xml = b'<?xml version="1.0"?><net name="empty" version="11"><layers></layers><edges></edges></net>'
    return OpenVinoProfiler(xml, b"", 1, {})


def test_kinds_are_added_up() -> None:
    nodes = [Node("Add", 0.001), Node("FullyConnected INT8", 0.004, 10, (1, 10)), Node("Add", 0.002)]
    kinds = by_kind(nodes)
    assert [(each.kind, each.count, each.ms) for each in kinds] == [
        ("FullyConnected INT8", 1, 4.0),
        ("Add", 2, 3.0),
    ]
