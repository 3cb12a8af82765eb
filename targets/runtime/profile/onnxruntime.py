"""Operators of a model on onnxruntime's CPU provider, from its own trace."""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from targets.runtime.backends.base import Array
from targets.runtime.backends.onnxruntime import session_options
from targets.runtime.profile.record import Node
from targets.runtime.profile.tiny_onnx import int8_product

_INT8_PRODUCTS: Final = frozenset(
    {"MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm", "MatMulInteger"}
)
_INT8_OTHERS: Final = frozenset({"QAttention", "QLinearAdd", "QLinearSoftmax"})
_LEAST_RUNS: Final = 5
_MOST_RUNS: Final = 400
_WARMUP: Final = 3


class OnnxRuntimeProfiler:
    """Times the operators of a model.

    Args:
        model: the ONNX file.
        threads: intra-op threads.
        options: of the session.
    """

    def __init__(self, model: bytes, threads: int, options: Mapping[str, str]) -> None:
        self._model = model
        self._threads = threads
        self._options = dict(options)

    def nodes(self, feeds: Mapping[str, Array], seconds: float) -> tuple[list[Node], float]:
        """The operators, and the median seconds of a run while they are timed."""
        return _traced(self._model, feeds, seconds, self._threads, self._options)

    def rate(self, rows: int, width_in: int, width_out: int, seconds: float) -> float:
        """Multiply-adds a second of one INT8 product, [rows, width_in] by [width_in, width_out]."""
        rng = np.random.default_rng(0)
        model = int8_product(rows, rng.integers(-127, 128, (width_in, width_out), dtype=np.int8))
        feeds = {"input": rng.integers(0, 256, (rows, width_in), dtype=np.uint8)}
        found, _ = _traced(model, feeds, seconds, self._threads, {})
        spent = sum(node.seconds for node in found if node.kind.startswith("MatMulInteger"))
        return rows * width_in * width_out / max(spent, 1e-9)


def _traced(
    model: bytes, feeds: Mapping[str, Array], seconds: float, threads: int, options: Mapping[str, str]
) -> tuple[list[Node], float]:
    with tempfile.TemporaryDirectory(prefix="bertc-profile-") as folder:
        chosen = session_options(threads, options)
        chosen.enable_profiling = True
        chosen.profile_file_prefix = str(Path(folder) / "trace")
        session = ort.InferenceSession(model, chosen, providers=["CPUExecutionProvider"])
        own = {item.name: feeds[item.name] for item in session.get_inputs()}
        times: list[float] = []
        begin = time.perf_counter()
        while len(times) < _LEAST_RUNS + _WARMUP or (
            len(times) < _MOST_RUNS and time.perf_counter() - begin < seconds
        ):
            start = time.perf_counter()
            session.run(None, own)
            times.append(time.perf_counter() - start)
        events = json.loads(Path(session.end_profiling()).read_bytes())
    return _nodes(events), float(np.median(times[_WARMUP:]))


def _nodes(events: list[dict[str, Any]]) -> list[Node]:
    """Each operator's median over the runs; an operator is told by its place in the model."""
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    arguments: dict[tuple[str, str], dict[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = (event["args"]["node_index"], event["name"])
            durations[key].append(1e-6 * event["dur"])
            arguments[key] = event["args"]
    return [
        _node(arguments[key], float(np.median(each[_WARMUP:] or each))) for key, each in durations.items()
    ]


def _node(arguments: Mapping[str, Any], seconds: float) -> Node:
    operator = arguments["op_name"]
    if operator not in _INT8_PRODUCTS:
        return Node(operator + (" INT8" if operator in _INT8_OTHERS else ""), seconds)
    rows = _shape(arguments["input_type_shape"])
    result = _shape(arguments["output_type_shape"])
    widths = (rows[-1], result[-1])
    return Node(f"{operator} INT8", seconds, int(np.prod(result)) * rows[-1], widths)


def _shape(entries: list[dict[str, list[int]]]) -> list[int]:
    """The shape of the first tensor of a list such as [{"float": [1, 24, 384]}, ...]."""
    return next(iter(entries[0].values()))
