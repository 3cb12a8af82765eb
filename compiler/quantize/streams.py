"""The float model and the model quantized so far, run side by side over the same texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from calibration.sampler import thinned
from compiler.ir.stages import Stages
from compiler.quantize.layer import QuantizedSite, Rows
from compiler.quantize.sites import Site
from compiler.quantize.statistics import Batches, token_rows

MOST_TOKENS: Final = 8192
_HELD_EVERY: Final = 5

_Values = dict[str, NDArray[Any]]


class Streams:
    """Two runs of a model, a site at a time, the second with each site quantized once it is known.

    Memory is bounded by `MOST_TOKENS`, whatever the number of texts: batches are left out evenly
    over all lengths until the rest fits.

    Args:
        model: the float IR; it is not changed.
        sites: every site in the order of the graph.
        batches: calibration feeds.
        sequential: see `QuantizeOptions`; if not, the second run is the first.
        threads: for onnxruntime, 0 for every core.
    """

    def __init__(
        self,
        model: ir.Model,
        sites: Sequence[Site],
        batches: Batches,
        *,
        sequential: bool = True,
        threads: int = 0,
    ) -> None:
        self._sites = sites
        self._stages = Stages(model, [site.linears for site in sites], threads=threads)
        chosen = thinned(batches, MOST_TOKENS)
        self._masks = [np.asarray(feeds["attention_mask"]).astype(bool) for feeds in chosen]
        self._exact: list[_Values] = [dict(feeds) for feeds in chosen]
        self._seen: list[_Values] = [dict(feeds) for feeds in chosen] if sequential else []

    def rows(self, index: int) -> Rows:
        """Run both models up to a site; sites go in order, each followed by `step`."""
        stage = self._stages.stages[index]
        if stage.makes:
            runner = self._stages.runner(index)
            for values in (*self._exact, *self._seen):
                values.update(runner(values))
        name = str(self._sites[index].value.name)
        parts = self._rows(self._exact, name)
        exact = np.concatenate(parts)
        seen = np.concatenate(self._rows(self._seen, name)) if self._seen else exact
        return Rows(exact, seen, _held(parts))

    def step(self, index: int, quantized: QuantizedSite) -> None:
        """Compute a site's layers in both models, and forget what nothing reads any more."""
        site = self._sites[index]
        name, weight, bias = str(site.value.name), site.weight, site.bias
        ends = np.cumsum([each.weight_array.shape[1] for each in site.linears])[:-1]
        for values in self._exact:
            self._put(values, site, np.split(values[name] @ weight + bias, ends, axis=-1))
        for values in self._seen:
            self._put(values, site, np.split(quantized(values[name]), ends, axis=-1))
        for values in (*self._exact, *self._seen):
            for finished in self._stages.stages[index].finished:
                values.pop(finished, None)

    @staticmethod
    def _put(values: _Values, site: Site, outputs: Sequence[NDArray[np.float32]]) -> None:
        for linear, output in zip(site.linears, outputs, strict=True):
            values[str(linear.output.name)] = output

    def _rows(self, stream: Sequence[Mapping[str, NDArray[Any]]], name: str) -> list[NDArray[np.float32]]:
        return [token_rows(values[name], mask) for values, mask in zip(stream, self._masks, strict=True)]


def _held(rows: Sequence[NDArray[np.float32]]) -> NDArray[np.bool_]:
    """Every fifth batch, or every fifth row where there are too few batches."""
    if len(rows) < _HELD_EVERY:
        return np.asarray(np.arange(sum(map(len, rows))) % _HELD_EVERY == _HELD_EVERY - 1)
    parts = [np.full(len(each), at % _HELD_EVERY == _HELD_EVERY // 2) for at, each in enumerate(rows)]
    return np.concatenate(parts)
