"""What the arithmetic alone would take: the rate of INT8 products here, and an encoder's number of them."""

from __future__ import annotations

import time
from typing import Any, Final

import numpy as np
import openvino as ov
from openvino import opset13 as ops

_ROWS: Final = 1024
_WIDTHS: Final = (768, 1536)
_CHAIN: Final = 8
_SECONDS: Final = 1.5


def measured_rate(threads: int) -> float:
    """INT8 multiply-adds a second that large products reach here, the best of a few sizes.

    Eight U8 by S8 products of [1024, width] by [width, width] in a row, each quantizing its result for the
    next one, by OpenVINO.
    """
    return max(_rate(width, threads) for width in _WIDTHS)


def _rate(width: int, threads: int) -> float:
    request = _request(width, threads)
    request.infer()
    best, begin = float("inf"), time.perf_counter()
    while time.perf_counter() - begin < _SECONDS:
        start = time.perf_counter()
        request.infer()
        best = min(best, time.perf_counter() - start)
    return _CHAIN * _ROWS * width * width / best


def _request(width: int, threads: int) -> Any:
    rng = np.random.default_rng(0)
    low, high = (ops.constant(np.float32(bound)) for bound in (0.0, 2.55))
    source = ops.parameter([_ROWS, width], np.float32)
    value = source
    for _ in range(_CHAIN):
        value = ops.fake_quantize(value, low, high, low, high, 256)
        weight = ops.constant(rng.integers(-127, 128, (width, width), dtype=np.int8))
        dense = ops.multiply(ops.convert(weight, "f32"), ops.constant(np.full((width, 1), 1e-3, np.float32)))
        value = ops.matmul(value, dense, False, True)
    model = ov.Model([value], [source], "products")
    options = {"INFERENCE_NUM_THREADS": str(threads), "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "1"}
    request = ov.Core().compile_model(model, "CPU", options).create_infer_request()
    request.get_input_tensor(0).data[...] = rng.random((_ROWS, width), np.float32)
    return request


def encoder_products(config: Any, batch: int, tokens: int) -> int:
    """Multiply-adds of an encoder's layers: four projections, two FFN products and attention."""
    hidden, inner = int(config.hidden_size), int(config.intermediate_size)
    layers = int(config.num_hidden_layers)
    each = 4 * hidden * hidden + 2 * hidden * inner + 2 * tokens * hidden
    return batch * tokens * layers * each
