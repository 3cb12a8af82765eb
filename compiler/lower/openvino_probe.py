"""Which products OpenVINO computes on activations that it quantizes on each run, seen in their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from compiler.quantize.plan import QuantPlan

_TOKENS: Final = 8
# 8-bit steps leave about 1e-2 of the root mean square, the order of float additions about 1e-7.
_LEAST: Final = 1e-4


def quantized_on_each_run(network: Any, plan: QuantPlan, settings: Mapping[str, str]) -> frozenset[str]:
    """The names of the linear layers whose results are not those of float activations.

    The runtime model names such a kernel as it names one that keeps activations in float. So a twin of the
    model also returns what enters and what leaves each product; a result that float activations and the
    stored weights do not give was computed on integers.

    Args:
        network: an OpenVINO model; it is not changed.
        plan: whose INT8 products without parameters for their input are looked at.
        settings: of the plugin.
    """
    import openvino as ov

    twin = network.clone()
    products = {node.get_friendly_name(): node for node in twin.get_ordered_ops() if _is_product(node)}
    looked_at = [name for name, each in plan.linears.items() if each.weight is not None and name in products]
    for name in looked_at:
        node = products[name]
        twin.add_outputs([node.input_value(0), node.output(0)])
    places = {name: _results(twin, products[name]) for name in looked_at}
    compiled = ov.Core().compile_model(twin, "CPU", dict(settings))
    feeds = {each.any_name: np.ones((1, _TOKENS), np.int64) for each in network.inputs}
    outputs = list(compiled(feeds).values())
    found = set()
    for name in looked_at:
        weight = plan.linears[name].weight
        if weight is None:
            continue
        entered, left = (np.asarray(outputs[place], np.float64) for place in places[name])
        if _relative(left, entered @ weight.dequantized().astype(np.float64)) > _LEAST:
            found.add(name)
    return frozenset(found)


def _is_product(node: Any) -> bool:
    return bool(node.get_type_name() == "MatMul")


def _results(twin: Any, node: Any) -> tuple[int, int]:
    """The places among the model's outputs of what enters and what leaves a product."""
    return _place(twin, node.input_value(0)), _place(twin, node.output(0))


def _place(twin: Any, value: Any) -> int:
    key = _key(value)
    return next(i for i, each in enumerate(twin.outputs) if _key(each.get_node().input_value(0)) == key)


def _key(value: Any) -> tuple[str, int]:
    return str(value.get_node().get_name()), int(value.get_index())


def _relative(found: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    scale = float(np.sqrt(np.mean(wanted**2)))
    return float(np.sqrt(np.mean((found - wanted) ** 2))) / scale if scale > 0 else 0.0
