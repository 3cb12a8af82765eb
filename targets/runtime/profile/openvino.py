"""Operators of a model on OpenVINO's CPU plugin, timed by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from targets.runtime.backends.base import Array
from targets.runtime.profile.record import Node
from targets.runtime.profile.timing import WARMUP, repeat, typical, warm_up

_PRODUCT: Final = "FullyConnected"
_FUSED: Final = "Subgraph"
_INT8: Final = ("i8", "u8")
_GROUP: Final = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
# Queries, keys, values and the mask are [batch, heads, tokens, size]; whatever else is fused has three axes.
_ATTENTION_INPUTS: Final = 3
_ATTENTION_AXES: Final = 4


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
        self._group = int(options.get(_GROUP, "0"))
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_PRECISION_HINT": "f32",
            **options,
            "INFERENCE_NUM_THREADS": str(threads),
            "PERF_COUNT": "YES",
        }

    def nodes(
        self, feeds: Mapping[str, Array], seconds: float, iterations: int | None = None
    ) -> tuple[list[Node], float]:
        """See `targets.runtime.profile.run.Profiler.nodes`; the model is compiled for the feeds' shape."""
        shape = list(feeds["input_ids"].shape)
        network = self._network.clone()
        network.reshape({port.get_any_name(): shape for port in network.inputs})
        compiled = self._core.compile_model(network, "CPU", self._options)
        request = compiled.create_infer_request()
        inputs = {port.get_any_name(): feeds[port.get_any_name()] for port in compiled.inputs}
        spent, observed = _observe(
            request,
            lambda: request.infer(inputs, share_inputs=True, share_outputs=True),
            seconds,
            iterations,
        )
        graph = _graph(compiled, self._group)
        return [_node(name, each, graph) for name, each in spent.items()], observed

    def rate(self, rows: int, width_in: int, width_out: int, seconds: float) -> float:
        """See `targets.runtime.profile.run.Profiler.rate`."""
        compiled = self._core.compile_model(_product(rows, width_in, width_out), "CPU", self._options)
        request = compiled.create_infer_request()
        request.get_input_tensor(0).data[...] = np.random.default_rng(0).random(
            (rows, width_in), dtype=np.float32
        )
        spent, _ = _observe(request, lambda: request.infer(), seconds, None)
        graph = _graph(compiled, 0)
        products = [node for node in (_node(name, each, graph) for name, each in spent.items()) if node.macs]
        took = sum(node.seconds for node in products)
        return sum(node.macs for node in products) / took if took > 0 else 0.0


def per_run(before: int, after: int, skipped: int, runs: int) -> float:
    """Seconds that an operator takes in one of `runs` runs, which `skipped` others came before.

    Args:
        before: the plugin's average over the runs that are skipped, in microseconds.
        after: its average over all of them.
        skipped: runs that are not counted, the slow first one among them.
        runs: runs that are.

    The plugin cuts every run's time to whole microseconds and the average of them once more, each half a
    microsecond too little where nothing else is known. That is added back: an encoder of a hundred short
    operators would otherwise lose a tenth of a millisecond (`perf_count.h` of OpenVINO's CPU plugin).
    """
    total = (skipped + runs) * (after + 0.5) - skipped * (before + 0.5)
    return 1e-6 * max(0.0, total / runs + 0.5)


def _observe(
    request: Any, run: Callable[[], object], seconds: float, iterations: int | None
) -> tuple[dict[str, float], float]:
    """The seconds of a run that each operator takes by its name, and those of the whole run.

    The plugin gives means alone: they are scaled to a typical run by the times of the runs. It says of an
    operator whose mean is below a microsecond that it did not run; in the first run none is so fast.
    """
    run()
    first = _averages(request)
    warm_up(run)
    before = _averages(request)
    times = repeat(run, seconds, iterations)
    after = _averages(request)
    observed = typical(times)
    scale = observed / (sum(times) / len(times))
    spent = {
        name: scale * per_run(before.get(name, 0), after.get(name, 0), 1 + WARMUP, len(times))
        for name in {**first, **before, **after}
    }
    fit = min(1.0, observed / max(sum(spent.values()), 1e-12))
    return {name: fit * each for name, each in spent.items()}, observed


def _averages(request: Any) -> dict[str, int]:
    """Microseconds of each operator that took one or more, on average since the model was compiled."""
    return {
        each.node_name: round(1e6 * each.real_time.total_seconds())
        for each in request.profiling_info
        if each.status.name == "EXECUTED"
    }


@dataclass(frozen=True, slots=True)
class _Planned:
    """What the plugin's own graph says of an operator."""

    kind: str
    macs: int = 0
    widths: tuple[int, int] = (0, 0)


def _node(name: str, seconds: float, graph: Mapping[str, _Planned]) -> Node:
    planned = graph.get(name, _Planned("not in the graph"))
    return Node(planned.kind, seconds, planned.macs, planned.widths)


def _graph(compiled: Any, group: int) -> dict[str, _Planned]:
    """The operators by name, with the multiply-adds of the INT8 products with weights."""
    found = {}
    for node in compiled.get_runtime_model().get_ordered_ops():
        kind = _text(node, "layerType")
        if kind.startswith(_PRODUCT):
            found[node.get_friendly_name()] = _planned_product(node, group)
        elif kind:
            int8 = " INT8" if _text(node, "runtimePrecision") in _INT8 else ""
            fused = " (attention)" if kind == _FUSED and _is_attention(node) else ""
            found[node.get_friendly_name()] = _Planned(kind + fused + int8)
    return found


def _planned_product(node: Any, group: int) -> _Planned:
    """A product is INT8 where both of its operands are; `runtimePrecision` tells of the weights alone.

    Activations that are quantized on each run enter as float, in as many at a time as a group holds.
    """
    shape = list(node.input_value(0).get_shape())
    width_in = int(shape[-1])
    width_out = int(np.prod(node.input_value(1).get_shape())) // width_in
    macs, widths = int(np.prod(shape)) * width_out, (width_in, width_out)
    if not _is_int8(node, 1):
        return _Planned(_PRODUCT)
    if _is_int8(node, 0) and _text(node, "primitiveType").lower().endswith(_INT8):
        return _Planned(f"{_PRODUCT} INT8", macs, widths)
    if 0 < group <= width_in:
        return _Planned(f"{_PRODUCT} INT8 dynamic", macs, widths)
    return _Planned(f"{_PRODUCT} on INT8 weights")


def _is_attention(node: Any) -> bool:
    axes = [port.get_partial_shape().rank.get_length() for port in node.inputs()]
    return axes.count(_ATTENTION_AXES) >= _ATTENTION_INPUTS


def _is_int8(node: Any, place: int) -> bool:
    return node.get_input_element_type(place).get_type_name() in _INT8


def _text(node: Any, key: str) -> str:
    info = node.get_rt_info()
    return str(info[key].astype(str)) if key in info else ""


def _product(rows: int, width_in: int, width_out: int) -> Any:
    rng = np.random.default_rng(0)
    low, high = ops.constant(np.float32(0.0)), ops.constant(np.float32(1.0))
    source = ops.parameter([rows, width_in], np.float32)
    quantized = ops.fake_quantize(source, low, high, low, high, 256)
    weight = ops.constant(rng.integers(-127, 128, (width_out, width_in), dtype=np.int8))
    scale = ops.constant(np.full((width_out, 1), 1e-3, np.float32))
    dense = ops.multiply(ops.convert(weight, "f32"), scale)
    return ov.Model([ops.matmul(quantized, dense, False, True)], [source], "product")
