"""FP8: E4M3 numbers with one scale per tensor of activations and one per column of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from calibration.cache import ArrayCache
from compiler.ir.encoder import EncoderGraph
from compiler.quantize.plan import HEAD, Decision, LinearPlan, QParam, QuantPlan, QWeight
from compiler.quantize.sites import sites_of
from compiler.quantize.statistics import Batches, ChannelRange, Progress, collect

LARGEST: Final = 448.0
"""Of E4M3 (Micikevicius et al. 2022, FP8 Formats for Deep Learning, table 1)."""


def quantize_float8(
    model: ir.Model,
    batches: Batches,
    tables: Mapping[str, QWeight],
    *,
    threads: int = 0,
    advance: Progress | None = None,
    cache: ArrayCache | None = None,
) -> QuantPlan:
    """Every linear layer in FP8; scales put the largest magnitude seen at the largest number.

    Three bits of mantissa are as exact near zero as at the end of the range, so that clipping and smoothing,
    which INT8 needs, bring nothing.

    Args:
        model: the float IR; it is not changed.
        batches: calibration feeds.
        tables: embedding tables, which stay INT8 rows.
        threads: for the calibration run, 0 for every core.
        advance: called with a number of texts as work is done.
        cache: for the ranges.
    """
    sites = sites_of(model)
    names = {str(site.value.name) for site in sites}
    known = collect(model, names, batches, threads=threads, advance=advance, cache=cache)
    roles = EncoderGraph.find(model).roles()
    decision = Decision("fp8", "linear layer")
    linears = {
        each.name: LinearPlan(
            roles.get(each.name, HEAD),
            decision,
            float8_columns(each.weight_array),
            _activation(known[str(site.value.name)]),
        )
        for site in sites
        for each in site.linears
    }
    return QuantPlan(linears, {}, tables, _SCHEME)


_SCHEME: Final[Mapping[str, Any]] = {
    "kind": "static",
    "activations": "fp8 e4m3 per tensor, absmax",
    "weights": "fp8 e4m3 per column, absmax",
    "attention_products": "float",
}


def float8_columns(weight: NDArray[np.float32]) -> QWeight:
    """A weight [in, out] in E4M3, round half to even, with one scale per column."""
    largest = np.abs(weight).max(axis=0)
    scale = np.where(largest > 0, largest / LARGEST, 1.0).astype(np.float32)
    values = np.clip(weight / scale, -LARGEST, LARGEST).astype(ml_dtypes.float8_e4m3fn)
    return QWeight(values, scale, axis=1)


def _activation(known: ChannelRange) -> QParam:
    largest = max(abs(float(known.low.min())), abs(float(known.high.max())))
    return QParam(largest / LARGEST if largest > 0 else 1.0, 0, True, True, "absmax")
