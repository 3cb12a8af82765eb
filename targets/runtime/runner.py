"""Runs a loaded model: pads to the shapes that it has, and keeps its streams busy."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from targets.runtime.backends.base import Array, Backend, Shaped
from targets.runtime.inference import Window, is_per_token
from targets.runtime.outputs import check_shapes
from targets.runtime.settings import RunSettings
from targets.runtime.tokenize import Encoding, TextEncoder

Outputs = dict[str, Array]


class Runner:
    """A backend with the tokenizer that pads for it.

    Attributes:
        first_run_s: seconds of the first run, None before it.
    """

    def __init__(self, backend: Backend, encoder: TextEncoder, task: str, settings: RunSettings) -> None:
        self._backend = backend
        self._shaped = backend if isinstance(backend, Shaped) else None
        self._encoder = encoder
        self._task = task
        self._settings = settings
        self.first_run_s: float | None = None

    def prepare(self, lengths: Sequence[int]) -> dict[int, float]:
        """Compiles the models for texts of these lengths; see `Shaped.prepare`."""
        return {} if self._shaped is None else self._shaped.prepare(lengths)

    @property
    def shapes(self) -> Mapping[int, float]:
        """The lengths that models were compiled for, and the seconds that each took."""
        return {} if self._shaped is None else self._shaped.shapes

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None) -> Outputs:
        """Runs the model on arrays [batch, sequence]; an output per token has as many tokens as they."""
        if self.first_run_s is not None:
            return self._run(feeds, outputs)
        start = time.perf_counter()
        found = self._run(feeds, outputs)
        self.first_run_s = time.perf_counter() - start
        return found

    def windows(
        self, groups: Iterable[list[int]], encodings: Sequence[Encoding], names: Sequence[str]
    ) -> Iterator[list[tuple[int, Window]]]:
        """Yields the windows of each group of encodings, (index, window), in the order of the groups."""
        if self._settings.streams == 1:
            for group in groups:
                yield self._windows(group, encodings, names)
            return
        streams = self._settings.streams
        pending: deque[Future[list[tuple[int, Window]]]] = deque()
        with ThreadPoolExecutor(streams, thread_name_prefix="bertc-stream") as pool:
            for group in groups:
                pending.append(pool.submit(self._windows, group, encodings, names))
                if len(pending) > 2 * streams:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()

    def _run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None) -> Outputs:
        if self._shaped is None:
            return self._backend.run(feeds, outputs)
        batch, length = feeds["input_ids"].shape
        padded = self._shaped.padded(batch, length)
        if padded == length:
            return self._backend.run(feeds, outputs)
        place = self._encoder.place(length, padded)
        found = self._backend.run(self._encoder.pad(feeds, padded), outputs)
        return {
            name: value[:, place] if self._per_token(name, value, padded) else value
            for name, value in found.items()
        }

    def _per_token(self, name: str, value: Array, length: int) -> bool:
        """Whether an output has a row for each of `length` tokens; the embedding as the only one has not."""
        return is_per_token(self._task, name) and value.shape[1:2] == (length,)

    def _windows(
        self, group: list[int], encodings: Sequence[Encoding], names: Sequence[str]
    ) -> list[tuple[int, Window]]:
        chosen = [encodings[index] for index in group]
        outputs = self.run(self._encoder.collate(chosen), names)
        longest = max(map(len, chosen))
        check_shapes(self._task, outputs, names, len(chosen), longest)
        per_token = [self._per_token(name, outputs[name], longest) for name in names]
        found = []
        for row, encoding in enumerate(chosen):
            place = self._encoder.place(len(encoding), longest)
            own = {
                name: outputs[name][row, place] if tokens else outputs[name][row]
                for name, tokens in zip(names, per_token, strict=True)
            }
            found.append((group[row], Window(encoding, own)))
        return found
