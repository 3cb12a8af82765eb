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
from compiler.quantize.statistics import token_rows

Array = NDArray[np.float32]
_Values = dict[str, NDArray[Any]]

HELD_EVERY: Final = 5
CHUNK: Final = 4096
"""Tokens of the batches that are computed at once, PAD included."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What some batches show of a value in both networks; rows are tokens, PAD left out.

    Attributes:
        dense, pruned: [rows, channels].
        held_out: whether they are for choosing and not for fitting.
    """

    dense: Array
    pruned: Array
    held_out: bool


class Walk:
    """Goes through the products in order; the pruned network has the weights that were given so far.

    A removed channel is one whose row in the product that reads it is zero, so that both networks have the
    same shapes.

    Args:
        model: the float IR; it is not changed.
        batches: feeds with `attention_mask`; every fifth is held out, where there are five.
        both: whether there is a pruned network; else it is the dense one.
        threads: for onnxruntime, 0 for every core.
    """

    def __init__(
        self,
        model: ir.Model,
        batches: Sequence[Mapping[str, NDArray[Any]]],
        *,
        both: bool,
        threads: int = 0,
    ) -> None:
        """Runs nothing yet."""
        groups: dict[ir.Value, list[Linear]] = {}
        for linear in linears_of(model.graph):
            groups.setdefault(linear.input, []).append(linear)
        self._groups = [tuple(each) for each in groups.values()]
        self._stages = Stages(model, self._groups, threads=threads)
        self._masks = [np.asarray(feeds["attention_mask"]).astype(bool) for feeds in batches]
        self._chunks = _chunks(self._masks)
        self._dense: list[_Values] = [dict(feeds) for feeds in batches]
        self._pruned: list[_Values] = [dict(feeds) for feeds in batches] if both else []
        self._given: dict[str, tuple[Array, Array | None]] = {}

    @property
    def linears(self) -> list[Linear]:
        """The products in the order of the groups."""
        return [linear for group in self._groups for linear in group]

    def __len__(self) -> int:
        """The number of groups."""
        return len(self._groups)

    def give(self, linear: Linear, weight: NDArray[Any], bias: NDArray[Any] | None) -> None:
        """The weights [in, out] and bias [out] of a product in the pruned network."""
        self._given[linear.name] = (
            weight.astype(np.float32),
            None if bias is None else bias.astype(np.float32),
        )

    def groups(self) -> Iterator[tuple[Linear, ...]]:
        """The products that read one value, when it is known; `give` may be called until the next."""
        for index, group in enumerate(self._groups):
            self._arrive(index)
            yield group
            self._leave(index, group)

    def rows(self, value: ir.Value) -> Iterator[Rows]:
        """A value's rows while it is known, some thousands at a time."""
        name = str(value.name)
        pruned = self._pruned or self._dense
        for places, held_out in self._chunks:
            masks = [self._masks[place] for place in places]
            one = [token_rows(self._dense[at][name], mask) for at, mask in zip(places, masks, strict=True)]
            other = [token_rows(pruned[at][name], mask) for at, mask in zip(places, masks, strict=True)]
            yield Rows(np.concatenate(one), np.concatenate(other), held_out)

    def _arrive(self, index: int) -> None:
        if self._stages.stages[index].makes:
            runner = self._stages.runner(index)
            for values in (*self._dense, *self._pruned):
                values.update(runner(values))

    def _leave(self, index: int, group: Sequence[Linear]) -> None:
        for linear in group:
            own = (linear.weight_array, linear.bias_array)
            for places, _ in self._chunks:
                _multiply([self._dense[each] for each in places], linear, *own)
                if self._pruned:
                    given = self._given.get(linear.name, own)
                    _multiply([self._pruned[each] for each in places], linear, *given)
        for values in (*self._dense, *self._pruned):
            for finished in self._stages.stages[index].finished:
                values.pop(finished, None)


def _multiply(batches: Sequence[_Values], linear: Linear, weight: Array, bias: Array | None) -> None:
    """A product of several batches at once: small ones leave a processor idle."""
    inputs = [values[str(linear.input.name)] for values in batches]
    found: Array = np.concatenate([each.reshape(-1, each.shape[-1]) for each in inputs]) @ weight
    if bias is not None:
        found += bias
    ends = np.cumsum([each.size // each.shape[-1] for each in inputs])[:-1]
    for values, source, part in zip(batches, inputs, np.split(found, ends), strict=True):
        values[str(linear.output.name)] = part.reshape(*source.shape[:-1], -1)


def _chunks(masks: Sequence[NDArray[np.bool_]]) -> list[tuple[list[int], bool]]:
    """Batches by their places, together `CHUNK` numbers of a mask or more, and whether they are held out."""
    few = len(masks) < HELD_EVERY
    found: list[tuple[list[int], bool]] = []
    for held_out in (False, True):
        places, size = [], 0
        for place, mask in enumerate(masks):
            if held_out == (not few and place % HELD_EVERY == HELD_EVERY // 2):
                places.append(place)
                size += mask.size
                if size >= CHUNK:
                    found.append((places, held_out))
                    places, size = [], 0
        if places:
            found.append((places, held_out))
    return found
