"""OpenVINO models of fixed shapes alone, for devices that run nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from targets.errors import UsageError
from targets.runtime.backends.base import Array, closed_error
from targets.runtime.backends.openvino_shapes import Requests, compile_fixed
from targets.spec import Device


class StaticShapes:
    """The models of one text and one of a few lengths each; no other shape is ever compiled.

    The least length is compiled at once, which shows whether the device takes the model, and the others when
    they are first asked for, which waits. Each holds the model's weights once more.

    Args:
        core: OpenVINO.
        read: gives the model of dynamic shape.
        device: that the models are compiled on.
        properties: of compiling.
        lengths: in tokens, ascending, at least one.
    """

    def __init__(
        self,
        core: Any,
        read: Callable[[], Any],
        device: Device,
        properties: Mapping[str, str],
        lengths: Sequence[int],
    ) -> None:
        self._core = core
        self._network: Any = read()
        self._device = device
        self._properties = dict(properties)
        self._lengths = tuple(lengths)
        self._models: dict[int, Requests] = {}
        self._seconds: dict[int, float] = {}
        self._lock = threading.Lock()
        self._model(self._lengths[0])

    @property
    def network(self) -> Any:
        """The model of dynamic shape, which is read and not compiled."""
        return self._network

    @property
    def seconds(self) -> Mapping[int, float]:
        """The lengths that are compiled, and the seconds that each took."""
        with self._lock:
            return MappingProxyType(dict(sorted(self._seconds.items())))

    def padded(self, batch: int, length: int) -> int:
        """The least length that holds so many tokens, whatever the batch.

        Raises:
            UsageError: more tokens than the largest length.
        """
        del batch
        found = next((each for each in self._lengths if each >= length), None)
        if found is None:
            raise UsageError(f"{length} tokens in a row", f"the model reads at most {self._lengths[-1]}")
        return found

    def prepare(self, lengths: Sequence[int]) -> dict[int, float]:
        """Compiles now; see `targets.runtime.backends.base.Shaped.prepare`."""
        chosen = list(dict.fromkeys(self.padded(1, length) for length in lengths))
        for each in chosen:
            self._model(each)
        return {each: self._seconds[each] for each in chosen}

    def run(self, feeds: Mapping[str, Array], places: Sequence[int]) -> list[Array]:
        """Runs the texts of a batch one by one.

        Args:
            feeds: arrays [batch, length], the length one of those given.
            places: of the outputs wanted.

        Raises:
            UsageError: another length, or the models were released.
        """
        batch, length = feeds["input_ids"].shape
        if length not in self._lengths:
            known = ", ".join(map(str, self._lengths))
            raise UsageError(f"a run of {length} tokens", f"this bundle runs on {known} tokens: pad to one")
        rows = []
        with self._model(length).one() as request:
            for row in range(batch):
                request.infer({name: array[row : row + 1] for name, array in feeds.items()})
                rows.append([request.output(place) for place in places])
        return [np.concatenate(column) for column in zip(*rows, strict=True)]

    def close(self) -> None:
        """Releases the models."""
        with self._lock:
            self._network = None
            self._models = {}
            self._seconds = {}

    def _model(self, length: int) -> Requests:
        with self._lock:
            if self._network is None:
                raise closed_error()
            if length not in self._models:
                start = time.perf_counter()
                compiled = compile_fixed(self._core, self._network, length, self._device, self._properties)
                self._models[length] = Requests(compiled)
                self._seconds[length] = time.perf_counter() - start
            return self._models[length]
