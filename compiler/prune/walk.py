"""The dense and the pruned network, side by side over the same texts, a product at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.linear import Linear, linears_of
from compiler.ir.stages import Stages
from compiler.prune.modules import PrunableModule

Array = NDArray[np.float32]
_Values = dict[str, NDArray[Any]]

HELD_EVERY: Final = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """What one batch shows at a module's reader; rows are tokens, PAD left out.

    Attributes:
        dense, pruned: [rows, channels], what the reader reads in each network.
        stream, drifted: [rows, out], what its result is added to in each.
        held_out: whether the batch is for choosing and not for fitting.
    """

    dense: Array
    pruned: Array
    stream: Array
    drifted: Array
    held_out: bool


class Walk:
    """Goes through the modules in order; the pruned network has the readers' weights that were given so far.

    A removed channel is one whose row in the reader is zero, so that both networks have the same shapes.

    Args:
        model: the float IR; it is not changed.
        modules: in its order.
        batches: feeds with `attention_mask`; every fifth is held out, where there are five.
        both: whether there is a pruned network; else it is the dense one.
        threads: for onnxruntime, 0 for every core.
    """

    def __init__(
        self,
        model: ir.Model,
        modules: Sequence[PrunableModule],
        batches: Sequence[Mapping[str, NDArray[Any]]],
        *,
        both: bool,
        threads: int = 0,
    ) -> None:
        """Runs nothing yet."""
        groups: dict[ir.Value, list[Linear]] = {}
        for linear in linears_of(model.graph):
            groups.setdefault(linear.input, []).append(linear)
        self._groups = list(groups.values())
        self._stages = Stages(model, self._groups, threads=threads)
        self._modules = {each.reader.matmul: each for each in modules}
        self._masks = [np.asarray(feeds["attention_mask"]).astype(bool) for feeds in batches]
        self._dense: list[_Values] = [dict(feeds) for feeds in batches]
        self._pruned: list[_Values] = [dict(feeds) for feeds in batches] if both else []
        self._given: dict[str, tuple[Array, Array]] = {}

    def give(self, module: PrunableModule, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        """The weights [channels, out] and bias [out] of a reader in the pruned network."""
        self._given[module.reader.name] = (weight.astype(np.float32), bias.astype(np.float32))

    def modules(self) -> Iterator[PrunableModule]:
        """Each module when its reader's rows are known; `give` may be called until the next."""
        left = len(self._modules)
        for index, group in enumerate(self._groups):
            if not left:
                return
            self._arrive(index)
            for linear in group:
                module = self._modules.get(linear.matmul)
                if module is not None:
                    left -= 1
                    yield module
            self._leave(index, group)

    def rows(self, module: PrunableModule) -> Iterator[Rows]:
        """A module's rows, a batch at a time."""
        read, stream = str(module.reader.input.name), str(module.residual.name)
        pruned = self._pruned or self._dense
        few = len(self._masks) < HELD_EVERY
        for place, (one, other, mask) in enumerate(zip(self._dense, pruned, self._masks, strict=True)):
            yield Rows(
                _tokens(one[read], mask),
                _tokens(other[read], mask),
                _tokens(one[stream], mask),
                _tokens(other[stream], mask),
                not few and place % HELD_EVERY == HELD_EVERY // 2,
            )

    def _arrive(self, index: int) -> None:
        if self._stages.stages[index].makes:
            runner = self._stages.runner(index)
            for values in (*self._dense, *self._pruned):
                values.update(runner(values))

    def _leave(self, index: int, group: Sequence[Linear]) -> None:
        for linear in group:
            own = (linear.weight_array, linear.bias_array)
            for values in self._dense:
                values[str(linear.output.name)] = _product(values, linear, *own)
            for values in self._pruned:
                values[str(linear.output.name)] = _product(values, linear, *self._given.get(linear.name, own))
        for values in (*self._dense, *self._pruned):
            for finished in self._stages.stages[index].finished:
                values.pop(finished, None)


def _product(values: _Values, linear: Linear, weight: Array, bias: Array | None) -> Array:
    found: Array = values[str(linear.input.name)] @ weight
    if bias is not None:
        found += bias
    return found


def _tokens(value: NDArray[Any], mask: NDArray[np.bool_]) -> Array:
    """The rows of [batch, sequence, channels] where the mask is set; every row of any other shape."""
    if value.ndim == 3 and value.shape[:2] == mask.shape:
        return np.asarray(value[mask], np.float32)
    return np.asarray(value.reshape(-1, value.shape[-1]), np.float32)
