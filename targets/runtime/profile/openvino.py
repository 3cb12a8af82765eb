"""Operators of a model on OpenVINO's CPU plugin, timed by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from targets.runtime.backends.base import Array
from targets.runtime.profile.record import Node

_PRODUCT: Final = "FullyConnected"
_INT8: Final = ("i8", "u8")
_LEAST_RUNS: Final = 5


class OpenVinoProfiler:
    """Times the operators of models compiled for one shape.

    Args:
        model: the XML.
        weights: the `.bin`.
        threads: inference threads.
        options: of compiling.
    """

    def __init__(self, model: bytes, weights: bytes, threads: int, options: Mapping[str, str]) -> None:
        self._core = ov.Core()
        tensor = ov.Tensor(np.frombuffer(weights, dtype=np.uint8), shared_memory=False)
        self._network: Any = self._core.read_model(model, tensor)
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_PRECISION_HINT": "f32",
            **options,
            "INFERENCE_NUM_THREADS": str(threads),
            "PERF_COUNT": "YES",
        }

    def nodes(self, feeds: Mapping[str, Array], seconds: float) -> tuple[list[Node], float]:
        """The operators, and the median seconds of a run while they are timed."""
        shape = list(feeds["input_ids"].shape)
        network = self._network.clone()
        network.reshape({port.get_any_name(): shape for port in network.inputs})
        compiled = self._core.compile_model(network, "CPU", self._options)
        request = compiled.create_infer_request()
        inputs = {port.get_any_name(): feeds[port.get_any_name()] for port in compiled.inputs}
        median = _repeat(lambda: request.infer(inputs, share_inputs=True, share_outputs=True), seconds)
        graph = _graph(compiled)
        return [_node(each, graph) for each in request.profiling_info if _ran(each)], median

    def rate(self, rows: int, width_in: int, width_out: int, seconds: float) -> float:
        """Multiply-adds a second of one INT8 product, [rows, width_in] by [width_in, width_out]."""
        compiled = self._core.compile_model(_product(rows, width_in, width_out), "CPU", self._options)
        request = compiled.create_infer_request()
        request.get_input_tensor(0).data[...] = np.random.default_rng(0).random(
            (rows, width_in), dtype=np.float32
        )
        _repeat(lambda: request.infer(), seconds)
        spent = sum(
            float(each.real_time.total_seconds())
            for each in request.profiling_info
            if each.node_type.startswith(_PRODUCT)
        )
        return rows * width_in * width_out / max(spent, 1e-9)


def _ran(info: Any) -> bool:
    return str(info.status.name) == "EXECUTED"


@dataclass(frozen=True, slots=True)
class _Planned:
    """What the plugin's own graph says of an operator."""

    int8: bool
    macs: int = 0
    widths: tuple[int, int] = (0, 0)


def _node(info: Any, graph: Mapping[str, _Planned]) -> Node:
    """The plugin's own times are means over all runs."""
    planned = graph.get(info.node_name, _Planned(int8=False))
    kind = _PRODUCT if info.node_type.startswith(_PRODUCT) else info.node_type
    seconds = float(info.real_time.total_seconds())
    if not planned.int8:
        return Node(kind, seconds)
    return Node(f"{kind} INT8", seconds, planned.macs, planned.widths)


def _graph(compiled: Any) -> dict[str, _Planned]:
    """The operators by name, with the multiply-adds of the products with weights."""
    found = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        info = node.get_rt_info()
        if "layerType" not in info:
            continue
        int8 = info["runtimePrecision"].astype(str) in _INT8
        if info["layerType"].astype(str).startswith(_PRODUCT):
            shape = list(node.input_value(0).get_shape())
            width_in = int(shape[-1])
            width_out = int(np.prod(node.input_value(1).get_shape())) // width_in
            found[node.get_friendly_name()] = _Planned(
                int8, int(np.prod(shape)) * width_out, (width_in, width_out)
            )
        else:
            found[node.get_friendly_name()] = _Planned(int8)
    return found


def _product(rows: int, width_in: int, width_out: int) -> Any:
    rng = np.random.default_rng(0)
    low, high = ops.constant(np.float32(0.0)), ops.constant(np.float32(1.0))
    source = ops.parameter([rows, width_in], np.float32)
    quantized = ops.fake_quantize(source, low, high, low, high, 256)
    weight = ops.constant(rng.integers(-127, 128, (width_out, width_in), dtype=np.int8))
    scale = ops.constant(np.full((width_out, 1), 1e-3, np.float32))
    dense = ops.multiply(ops.convert(weight, "f32"), scale)
    return ov.Model([ops.matmul(quantized, dense, False, True)], [source], "product")


def _repeat(run: Callable[[], object], seconds: float) -> float:
    """Runs for so long, 5 times at least; the median seconds of a run."""
    times: list[float] = []
    begin = time.perf_counter()
    while len(times) < _LEAST_RUNS or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
