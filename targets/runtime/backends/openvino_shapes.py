"""OpenVINO models of one shape each, beside the one of dynamic shape, on the CPU."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from targets.runtime.backends.base import Array
from targets.runtime.settings import ShapePolicy
from targets.spec import Device

_ASKED: Final = 2
_CLEARLY: Final = 2
_FORGET_AFTER: Final = 2048
# What a model of one shape holds, to the bytes of its weights' file: 37 MiB to 23.5 MB with MiniLM-L6.
_MEMORY: Final = 1.6


class Request:
    """One inference request; of a model of one shape, it keeps its input tensors."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        static = all(port.partial_shape.is_static for port in compiled.inputs)
        self._inputs: dict[str, Array] | None = None
        if static:
            self._inputs = {
                port.get_any_name(): self._request.get_input_tensor(place).data
                for place, port in enumerate(compiled.inputs)
            }

    def infer(self, feeds: Mapping[str, Array]) -> None:
        """Runs the model on arrays [batch, sequence]."""
        if self._inputs is None:
            self._request.infer(dict(feeds), share_inputs=True, share_outputs=True)
            return
        for name, tensor in self._inputs.items():
            tensor[...] = feeds[name]
        self._request.infer({}, share_inputs=True, share_outputs=True)

    def output(self, place: int) -> Array:
        """A copy of an output."""
        return np.array(self._request.get_output_tensor(place).data)


class Requests:
    """As many requests of a compiled model as may run side by side."""

    def __init__(self, compiled: Any, count: int = 1) -> None:
        self._free: SimpleQueue[Request] = SimpleQueue()
        for _ in range(count):
            self._free.put(Request(compiled))

    @contextmanager
    def one(self) -> Iterator[Request]:
        """A request that nobody else runs, waited for where there is none."""
        request = self._free.get()
        try:
            yield request
        finally:
            self._free.put(request)


def compile_fixed(core: Any, network: Any, length: int, device: Device, properties: Mapping[str, str]) -> Any:
    """A model compiled for one text of so many tokens; the network stays as it is."""
    fixed = network.clone()
    fixed.reshape({port.get_any_name(): [1, length] for port in fixed.inputs})
    return core.compile_model(fixed, device, properties)


class ShapeModels:
    """The models of one text and one length each, compiled as a policy says.

    A length is compiled in the background when it is asked for a second time, one at a time. Where no more
    fit, it takes the place of the one asked for least, once it was asked for twice as often. One that cannot
    be compiled, as for want of memory, is tried no more. May be used by several threads.

    Args:
        core: OpenVINO.
        read: gives the model of dynamic shape; called when a length is compiled for the first time.
        properties: of compiling.
        policy: the lengths, and how many models are kept.
        weight_bytes: of the weights' file, for the bound on memory; 0 where it is not known.
    """

    def __init__(
        self,
        core: Any,
        read: Callable[[], Any],
        properties: Mapping[str, str],
        policy: ShapePolicy,
        weight_bytes: int,
    ) -> None:
        self._core = core
        self._read: Callable[[], Any] | None = read if policy.lengths else None
        self._network: Any = None
        self._properties = dict(properties)
        self._policy = policy
        each = _MEMORY * weight_bytes / (1 << 20)
        self._kept = policy.kept if each == 0 else min(policy.kept, int(policy.memory_mb / each))
        self._models: dict[int, Requests] = {}
        self._seconds: dict[int, float] = {}
        self._refused: set[int] = set()
        self._asked: Counter[int] = Counter()
        self._asks = 0
        self._lock = threading.Lock()
        self._compiling = threading.Lock()
        self._thread: threading.Thread | None = None

    @property
    def seconds(self) -> Mapping[int, float]:
        """The lengths that are compiled, and the seconds that each took."""
        with self._lock:
            return MappingProxyType({length: self._seconds[length] for length in sorted(self._models)})

    def find(self, shape: Sequence[int]) -> Requests | None:
        """The model of a shape, if it is there."""
        return self._models.get(shape[1]) if shape[0] == 1 else None

    def padded(self, batch: int, length: int) -> int:
        """The length to pad to; see `targets.runtime.backends.base.Shaped.padded`."""
        if batch != 1:
            return length
        wanted = self._policy.padded(length)
        if wanted is None:
            return length
        self._count(wanted)
        if wanted in self._models:
            return wanted
        if self._policy.when == "lazy" and self._worth(wanted):
            self._start(wanted)
        return length

    def prepare(self, lengths: Sequence[int]) -> dict[int, float]:
        """Compiles now; see `targets.runtime.backends.base.Shaped.prepare`. No more than are kept."""
        wanted = dict.fromkeys(self._policy.padded(length) for length in lengths)
        chosen = [each for each in wanted if each is not None][: self._kept]
        for each in chosen:
            self._compile(each, protected=chosen)
        with self._lock:
            return {each: self._seconds[each] for each in chosen if each in self._models}

    def close(self) -> None:
        """Releases the models; one that is being compiled is dropped when it is done."""
        with self._lock:
            self._read = self._network = None
            self._models = {}

    def _count(self, length: int) -> None:
        with self._lock:
            self._asked[length] += 1
            self._asks += 1
            if self._asks % _FORGET_AFTER == 0:
                self._asked = Counter({key: count // 2 for key, count in self._asked.items()})

    def _worth(self, length: int) -> bool:
        with self._lock:
            asked = self._asked[length]
            if asked < _ASKED or self._kept == 0 or length in self._refused:
                return False
            least = min((self._asked[each] for each in self._models), default=0)
            return len(self._models) < self._kept or asked > _CLEARLY * least

    def _start(self, length: int) -> None:
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return
            self._thread = threading.Thread(target=self._try, args=(length,), name="bertc-shapes")
            self._thread.start()

    def _try(self, length: int) -> None:
        """Compiles in the background, where nobody could be told of an error and nobody needs the model."""
        try:
            self._compile(length)
        except Exception:  # OpenVINO raises plain RuntimeError, and its bindings several others
            self._refused.add(length)

    def _compile(self, length: int, protected: Sequence[int] = ()) -> None:
        with self._compiling:
            read, network = self._read, self._network
            if read is None or length in self._models:
                return
            start = time.perf_counter()
            network = read() if network is None else network
            requests = Requests(compile_fixed(self._core, network, length, "CPU", self._properties))
            with self._lock:
                if self._read is None:
                    return
                self._network = network
                self._make_room(protected)
                self._models = {**self._models, length: requests}
                self._seconds[length] = time.perf_counter() - start

    def _make_room(self, protected: Sequence[int]) -> None:
        models = dict(self._models)
        while len(models) >= self._kept:
            free = [each for each in models if each not in protected] or list(models)
            del models[min(free, key=lambda each: self._asked[each])]
        self._models = models
