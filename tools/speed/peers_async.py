"""An OpenVINO model run by several streams, as its documentation advises for throughput."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from targets.runtime.items import TextItem
from targets.runtime.tokenize import TextEncoder
from tools.speed.timing import sorted_batches


class AsyncPeer:
    """The model compiled with the throughput hint, behind an `AsyncInferQueue`."""

    def __init__(self, path: Path, threads: int) -> None:
        core = ov.Core()
        compiled = core.compile_model(
            core.read_model(path),
            "CPU",
            {
                "PERFORMANCE_HINT": "THROUGHPUT",
                "INFERENCE_NUM_THREADS": str(threads),
                "INFERENCE_PRECISION_HINT": "f32",
            },
        )
        self._names = [port.get_any_name() for port in compiled.inputs]
        self._queue: Any = ov.AsyncInferQueue(compiled)
        self._found: dict[int, Any] = {}
        self._queue.set_callback(self._keep)

    def _keep(self, request: Any, place: int) -> None:
        self._found[place] = np.array(request.get_output_tensor(0).data)

    def all_texts(self, encoder: TextEncoder, texts: Sequence[TextItem], size: int) -> Callable[[], object]:
        """All texts, sorted by length, in batches of `size`."""

        def run() -> object:
            for place, feeds in enumerate(sorted_batches(encoder, texts, size)):
                self._queue.start_async({name: feeds[name] for name in self._names}, place)
            self._queue.wait_all()
            return self._found

        return run
