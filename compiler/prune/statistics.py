"""What one dense pass over the calibration text shows of every module."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.prune.modules import PrunableModule
from compiler.prune.moments import Matrix
from compiler.prune.walk import Walk

Batches = Sequence[Mapping[str, NDArray[Any]]]


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of one module.

    Attributes:
        gram: [in, in], the mean over tokens of x x', x being what the reader reads.
        variance: mean over tokens of the squared distance of the stream, after the module, from its mean
            over channels: what LayerNormalization divides by.
        tokens: how many there were.
    """

    gram: Matrix
    variance: float
    tokens: int


def gather(
    model: ir.Model,
    modules: Sequence[PrunableModule],
    batches: Batches,
    *,
    threads: int = 0,
    advance: Callable[[int], None] | None = None,
) -> dict[str, Statistics]:
    """Statistics of modules by name, added up in float64; PAD never counts.

    Args:
        model: the float IR; it is not changed.
        modules: of it.
        batches: feeds with `attention_mask`.
        threads: for onnxruntime, 0 for every core.
        advance: called with 1 after every module.
    """
    walk = Walk(model, batches, both=False, threads=threads)
    readers = {each.reader.matmul: each for each in modules}
    found: dict[str, Statistics] = {}
    for group in walk.groups():
        for linear in group:
            module = readers.get(linear.matmul)
            if module is not None:
                found[module.name] = _statistics(walk, module)
                if advance is not None:
                    advance(1)
        if len(found) == len(modules):
            break
    return found


def weights_of(module: PrunableModule) -> tuple[Matrix, Matrix]:
    """The reader's weight [in, out] and bias [out] in float64; zeros where it has no bias."""
    weight = module.reader.weight_array.astype(np.float64)
    bias = module.reader.bias_array
    return weight, np.zeros(weight.shape[1]) if bias is None else bias.astype(np.float64)


def _statistics(walk: Walk, module: PrunableModule) -> Statistics:
    weight, bias = weights_of(module)
    gram = np.zeros((len(weight), len(weight)))
    power, tokens = 0.0, 0
    for rows, stream in zip(walk.rows(module.reader.input), walk.rows(module.residual), strict=True):
        read = rows.dense.astype(np.float64)
        gram += read.T @ read
        total = stream.dense + read @ weight + bias
        power += float(np.sum((total - total.mean(axis=1, keepdims=True)) ** 2))
        tokens += len(read)
    count = max(tokens, 1)
    return Statistics(gram / count, power / count, tokens)
