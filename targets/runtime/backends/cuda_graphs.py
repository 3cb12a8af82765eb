"""CUDA graphs of an engine, one for each length of a single text."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from targets.runtime.backends.cuda import Cuda
from targets.runtime.settings import ShapePolicy

_ASKED: Final = 2
_MIB: Final = 1 << 20


class GraphRuns:
    """Single texts as CUDA graphs: the kernels of a run are launched together, not one after the other.

    A graph holds for the shape, the addresses and the execution context that it was captured with, so that
    each has a context of its own; `ShapePolicy` bounds how many there are and the memory that their
    activations take.

    Args:
        policy: the lengths.
        cuda: whose stream the engine runs on.
        context: makes an execution context for a single text of a length, its addresses set.
        memory: bytes that a context takes.
    """

    def __init__(self, policy: ShapePolicy, cuda: Cuda, context: Callable[[int], Any], memory: int) -> None:
        """Captures nothing yet, unless the policy says so."""
        self._policy, self._cuda, self._context = policy, cuda, context
        self._most = min(policy.kept, policy.memory_mb * _MIB // max(memory, 1))
        self._asked: Counter[int] = Counter()
        self._graphs: dict[int, int] = {}
        self._contexts: list[Any] = []
        self._seconds: dict[int, float] = {}
        self._refused = False
        if policy.when == "ahead":
            self.prepare(policy.lengths)

    def prepare(self, lengths: Sequence[int]) -> dict[int, float]:
        """Captures what single texts of these lengths run on; seconds by length, of those that are there."""
        wanted = {self._policy.padded(length) for length in lengths} - {None}
        for length in sorted(each for each in wanted if each is not None):
            self._capture(length)
        return {length: self._seconds[length] for length in self._graphs if length in wanted}

    @property
    def shapes(self) -> Mapping[int, float]:
        """The lengths captured, and the seconds that each took."""
        return MappingProxyType(self._seconds)

    def launch(self, batch: int, length: int) -> bool:
        """Runs the graph of a shape; False where there is none, and the run is to be made without."""
        if batch != 1 or length not in self._policy.lengths:
            return False
        self._asked[length] += 1
        if length not in self._graphs and self._asked[length] >= _ASKED:
            self._capture(length)
        if length not in self._graphs:
            return False
        self._cuda.launch(self._graphs[length])
        return True

    def _capture(self, length: int) -> None:
        """Captures a run after one without, in which TensorRT settles what the shape needs."""
        if self._refused or length in self._graphs or len(self._graphs) >= self._most:
            return
        begin = time.perf_counter()
        context = self._context(length)
        settled = context.execute_async_v3(self._cuda.stream)
        self._cuda.wait()
        graph = self._cuda.capture(lambda: context.execute_async_v3(self._cuda.stream)) if settled else None
        if graph is None:
            self._refused = True
            return
        self._graphs[length] = graph
        self._contexts.append(context)
        self._seconds[length] = time.perf_counter() - begin
