"""About how many operations the parts of pruning take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import onnx_ir as ir
from numpy.typing import NDArray

from compiler.ir.linear import Linear, linears_of
from compiler.ir.work import DOUBLE, Texts, run_work
from compiler.prune.modules import PrunableModule

_WITH_GRADIENTS: Final = 12.0
"""Runs that one with gradients takes as long as: small products, in torch, and back."""
_PATH: Final = 10.0
_SOLUTIONS: Final = 10.0


def gradient_works(model: ir.Model, batches: Sequence[Mapping[str, NDArray[Any]]]) -> Iterator[float]:
    """Of every batch in `gradients.sensitivities`."""
    linears = linears_of(model.graph)
    for feeds in batches:
        yield _WITH_GRADIENTS * run_work(linears, Texts.of([feeds]))


def gather_works(model: ir.Model, modules: Sequence[PrunableModule], texts: Texts) -> Iterator[float]:
    """Of every module in `statistics.gather`, with the products before it."""
    readers = {each.reader.matmul for each in modules}
    work = 0.0
    for linear in linears_of(model.graph):
        work += run_work([linear], texts)
        if linear.matmul in readers:
            width, out = linear.weight_array.shape
            yield work + DOUBLE * 2.0 * texts.rows(linear.input) * width * (width + out)
            work = 0.0


def path_work(module: PrunableModule) -> float:
    """Of the errors of a module at all levels."""
    width, out = module.reader.weight_array.shape
    return float(DOUBLE * (_PATH * width**3 + 2.0 * width * out**2))


def refit_work(linear: Linear, texts: Texts, kept: tuple[int, int] | None) -> float:
    """Of a product in `sequential.solve_in_sequence`.

    Args:
        linear: is run in both networks.
        texts: that it is run on.
        kept: rows and columns that it is solved anew for; None where it is not.
    """
    run = 2.0 * run_work([linear], texts)
    if kept is None:
        return run
    width, out = kept
    products = 2.0 * texts.rows(linear.input) * (width * (width + out) + linear.weight_array.size)
    return run + DOUBLE * (products + _SOLUTIONS * width**3)
