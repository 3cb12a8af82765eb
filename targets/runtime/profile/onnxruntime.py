"""Operators of a model on onnxruntime's CPU provider, from its own trace."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort

from targets.runtime.backends.base import Array
from targets.runtime.backends.onnxruntime import session_options
from targets.runtime.profile.record import Node
from targets.runtime.profile.timing import WARMUP, middle, repeat, warm_up
from targets.runtime.profile.tiny_onnx import int8_product
from targets.temporary import scratch_folder

_INT8_PRODUCTS: Final = frozenset(
    {"MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QGemm", "MatMulInteger"}
)
_INT8_OTHERS: Final = frozenset({"QAttention", "QLinearAdd", "QLinearSoftmax"})
# A trace of one run is about a hundred KiB of JSON.
_MOST_RUNS: Final = 200


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

    def nodes(
        self, feeds: Mapping[str, Array], seconds: float, iterations: int | None = None
    ) -> tuple[list[Node], float]:
        """See `targets.runtime.profile.run.Profiler.nodes`; 200 runs at most, for the trace is read back."""
        return _traced(self._model, feeds, seconds, iterations, self._threads, self._options)

    def rate(self, rows: int, width_in: int, width_out: int, seconds: float) -> float:
        """See `targets.runtime.profile.run.Profiler.rate`."""
        rng = np.random.default_rng(0)
        model = int8_product(rows, rng.integers(-127, 128, (width_in, width_out), dtype=np.int8))
        feeds = {"input": rng.integers(0, 256, (rows, width_in), dtype=np.uint8)}
        found, _ = _traced(model, feeds, seconds, None, self._threads, {})
        took = sum(node.seconds for node in found if node.macs)
        return sum(node.macs for node in found) / took if took > 0 else 0.0


def _traced(
    model: bytes,
    feeds: Mapping[str, Array],
    seconds: float,
    iterations: int | None,
    threads: int,
    options: Mapping[str, str],
) -> tuple[list[Node], float]:
    with scratch_folder("profile") as folder:
        chosen = session_options(threads, options)
        chosen.enable_profiling = True
        chosen.profile_file_prefix = str(folder / "trace")
        session = ort.InferenceSession(model, chosen, providers=["CPUExecutionProvider"])
        own = {item.name: feeds[item.name] for item in session.get_inputs()}
        warm_up(lambda: session.run(None, own))
        times = repeat(lambda: session.run(None, own), seconds, iterations, most=_MOST_RUNS)
        events = json.loads(Path(session.end_profiling()).read_bytes())
    kept = middle(times)
    observed = sum(times[place] for place in kept) / len(kept)
    return nodes_of(events, [WARMUP + place for place in kept], WARMUP + len(times)), observed


def nodes_of(events: Sequence[Mapping[str, Any]], kept: Sequence[int], runs: int) -> list[Node]:
    """The operators of a trace, each with its mean over the runs that are kept.

    Args:
        events: of the trace, in the order of time.
        kept: the places of runs.
        runs: all runs in the trace.

    An operator is told by its place in the model. One inside a branch or a loop does not run once in each
    run: it has its share of all of them.
    """
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    arguments: dict[tuple[str, str], Mapping[str, Any]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = (event["args"]["node_index"], event["name"])
            durations[key].append(1e-6 * event["dur"])
            arguments[key] = event["args"]
    found = []
    for key, each in durations.items():
        once = len(each) == runs
        mean = sum(each[place] for place in kept) / len(kept) if once else sum(each) / runs
        found.append(_node(arguments[key], mean))
    return found


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
