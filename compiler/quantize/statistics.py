"""What calibration text shows of the values that will be quantized."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from calibration.cache import ArrayCache, cache_key
from compiler.ir.execute import Runner, serialize

Progress = Callable[[int], None]
Batches = Sequence[Mapping[str, NDArray[Any]]]


@dataclass(slots=True)
class ChannelRange:
    """The range of each channel of one value, over token rows only (PAD never counts).

    Attributes:
        low: float32 [channels], the smallest value seen.
        high: float32 [channels], the largest.
        places: float32 [channels], of each channel among its copies, from `split.places_of`; None where
            no channel has a copy.
    """

    low: NDArray[np.float32]
    high: NDArray[np.float32]
    places: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, rows: NDArray[np.float32]) -> ChannelRange:
        """Of rows [n, channels], n at least 1."""
        return cls(rows.min(axis=0), rows.max(axis=0))

    def update(self, rows: NDArray[np.float32]) -> None:
        """Add rows [n, channels]."""
        np.minimum(self.low, rows.min(axis=0), out=self.low)
        np.maximum(self.high, rows.max(axis=0), out=self.high)


def collect(
    model: ir.Model,
    names: Iterable[str],
    batches: Batches,
    *,
    threads: int = 0,
    advance: Progress | None = None,
    cache: ArrayCache | None = None,
) -> dict[str, ChannelRange]:
    """Run the float graph over calibration batches and watch the named values.

    Args:
        model: the float IR.
        names: values of shape [batch, sequence or 1, channels] or [batch, channels].
        batches: feeds with `attention_mask`.
        threads: for onnxruntime, 0 for every core.
        advance: called with the number of texts of each batch when it is done.
        cache: where the result is kept, under the content of graph, names and batches.

    Returns:
        Ranges by name. Memory is O(names), not O(batches).
    """
    wanted = sorted(set(names))
    key = None if cache is None else _key(model, wanted, batches)
    known = None if cache is None or key is None else cache.get(key)
    if known is not None:
        if advance is not None:
            advance(sum(len(feeds["attention_mask"]) for feeds in batches))
        return _unpacked(known)
    found = _watch(model, wanted, batches, threads, advance)
    if cache is not None and key is not None:
        cache.put(key, _packed(found))
    return found


def _watch(
    model: ir.Model, wanted: list[str], batches: Batches, threads: int, advance: Progress | None
) -> dict[str, ChannelRange]:
    found: dict[str, ChannelRange] = {}
    runner = Runner(model, taps=wanted, threads=threads)
    for feeds in batches:
        values = runner(feeds, wanted)
        mask = np.asarray(feeds["attention_mask"]).astype(bool)
        for name in wanted:
            rows = token_rows(values[name], mask)
            if name in found:
                found[name].update(rows)
            else:
                found[name] = ChannelRange.of(rows)
        if advance is not None:
            advance(len(mask))
    return found


def _packed(found: Mapping[str, ChannelRange]) -> dict[str, NDArray[Any]]:
    return {name: np.stack([each.low, each.high]) for name, each in found.items()}


def _unpacked(arrays: Mapping[str, NDArray[Any]]) -> dict[str, ChannelRange]:
    return {name: ChannelRange(array[0], array[1]) for name, array in arrays.items()}


def _key(model: ir.Model, names: list[str], batches: Batches) -> str:
    import onnxruntime

    texts = hashlib.sha256()
    for feeds in batches:
        for name in sorted(feeds):
            texts.update(name.encode())
            texts.update(str(feeds[name].shape).encode())
            texts.update(np.ascontiguousarray(feeds[name]).tobytes())
    graph = hashlib.sha256(serialize(model)).hexdigest()
    parts = {"graph": graph, "names": names, "feeds": texts.hexdigest()}
    return cache_key({**parts, "kind": "channel ranges", "onnxruntime": onnxruntime.__version__})


def token_rows(value: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The rows of [batch, sequence, channels] where the mask is set; every row of any other shape."""
    if value.ndim == 3 and value.shape[:2] == mask.shape:
        return value[mask]
    return value.reshape(-1, value.shape[-1])
