"""The 16-bit model against the kernels themselves: OpenVINO's, told to forget that the CPU has VNNI."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from targets.detect import machine

PROGRAM = """
import json, sys
import numpy as np
import openvino as ov
from openvino import opset13 as ops
from compiler.integer.product import integer_product, saturating_product

def kernel(x, w, low):
    value = ops.parameter([-1, len(w)], np.float32)
    ends = [ops.constant(np.float32(each)) for each in (low, low + 255, low, low + 255)]
    rounded = ops.fake_quantize(value, *ends, 256)
    integers = ops.convert(ops.constant(np.ascontiguousarray(w.T)), "f32")
    dense = ops.multiply(integers, ops.constant(np.ones((w.shape[1], 1), np.float32)))
    network = ov.Model([ops.matmul(rounded, dense, False, True)], [value])
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    return ov.Core().compile_model(network, "CPU", options)([x.astype(np.float32)])[0]

rng = np.random.default_rng(0)
found = []
for k, columns, rows in ((384, 64, 4), (1536, 48, 9), (36, 50, 1), (312, 20, 33)):
    for low in (0, -128):
        for qmax in (127, 64):
            w = rng.integers(-qmax, qmax + 1, (k, columns)).astype(np.int8)
            u8 = rng.integers(0, 256, (rows, k)).astype(np.uint8)
            result = kernel(u8.astype(np.int16) + low, w, low)
            shift = low * w.sum(axis=0, dtype=np.int32)
            exact, saturated = integer_product(u8, w) + shift, saturating_product(u8, w) + shift
            found.append([low, qmax, *(bool((result == each).all()) for each in (exact, saturated))])
print(json.dumps(found))
"""


def kernels_of(isa: str) -> list[list[int]]:
    """For each product: smallest left integer, qmax, whether exact, whether as in the 16-bit model."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": isa}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    found: list[list[int]] = json.loads(done.stdout)
    return found


@pytest.mark.skipif(machine().arch != "x86_64", reason="vpmaddubsw is of x86-64")
@pytest.mark.parametrize("isa", ["AVX512_CORE", "AVX2"])
def test_kernels_without_vnni(isa: str) -> None:
    """Every sum of the 16-bit model is the kernel's, U8 x S8 and S8 x S8; half range is exact."""
    found = kernels_of(isa)
    assert len(found) == 16
    for low, qmax, exact, saturated in found:
        assert saturated, (low, qmax)
        assert exact == (qmax == 64), (low, qmax)
