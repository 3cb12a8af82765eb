"""About how many operations a part of a compile takes, for the time that is left of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.linear import Linear

DOUBLE: Final = 2.0
"""What an operation in float64 takes, one in float32 being 1."""


@dataclass(frozen=True, slots=True)
class Texts:
    """How much is run.

    Attributes:
        number: texts.
        tokens: of all of them, PAD included.
    """

    number: int
    tokens: int

    @classmethod
    def of(cls, batches: Sequence[Mapping[str, NDArray[Any]]]) -> Texts:
        """Of feeds with `attention_mask`."""
        masks = [np.asarray(feeds["attention_mask"]) for feeds in batches]
        return cls(sum(map(len, masks)), sum(each.size for each in masks))

    def rows(self, value: ir.Value) -> int:
        """Tokens of [batch, sequence, channels], texts of [batch, channels] and [batch, 1, channels]."""
        shape = value.shape
        single = shape is not None and (len(shape) == 2 or (len(shape) == 3 and shape[1] == 1))
        return self.number if single else self.tokens


def run_work(linears: Iterable[Linear], texts: Texts) -> float:
    """Of running the products once."""
    return sum(2.0 * texts.rows(each.input) * each.weight_array.size for each in linears)
