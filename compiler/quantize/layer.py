"""Quantizes the layers that read one activation: range, weights, bias, each by the layer's own output."""

from __future__ import annotations

from dataclasses import dataclass
from math import log10
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration.observers import RangeObserver
from calibration.qparams import QuantParams, fake_quantize
from calibration.ranges import choose_range
from compiler.quantize import ranges
from compiler.quantize.gptq import gptq_round
from compiler.quantize.options import AUTO_RANGES, QuantizeOptions
from compiler.quantize.plan import QParam, QWeight
from compiler.quantize.sites import Site
from compiler.quantize.smooth import SmoothRules, Transform, search_transform
from compiler.quantize.statistics import ChannelRange
from compiler.quantize.weights import quantize_columns
from targets.spec import QuantScheme

SEARCH_ROWS: Final = 512


@dataclass(frozen=True, slots=True)
class Rows:
    """A layer's input over the same tokens in two models.

    Attributes:
        exact: in the float model, [n, in].
        seen: in the model whose earlier layers are quantized, [n, in].
        held: bool [n], rows of texts that only judge.
    """

    exact: NDArray[np.float32]
    seen: NDArray[np.float32]
    held: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Noise:
    """Signal-to-noise ratios of a site's outputs, `10 log10(mean(y^2) / mean((y - got)^2))`, in dB.

    They are of rows that nothing was fitted to, where there are such. None where there is no noise.

    Attributes:
        own: against the exact layers on the same input, that of the quantized model.
        total: against the float model.
    """

    own: float | None
    total: float | None


@dataclass(frozen=True, slots=True)
class QuantizedSite:
    """The layers of one site, quantized together.

    Attributes:
        transform: of the activation, before it is quantized.
        param: of the transformed activation.
        weight: of all readers side by side, [in, out].
        bias: float32 [out], the transform's offset and any correction inside.
        corrected: whether the bias makes good what quantization moves.
        noise: that is left.
    """

    transform: Transform
    param: QParam
    weight: QWeight
    bias: NDArray[np.float32]
    corrected: bool
    noise: Noise

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """The layers' outputs side by side for rows [..., in]."""
        return _quantized(self.transform(x), self.param) @ self.weight.dequantized() + self.bias


def quantize_site(
    site: Site, rows: Rows, known: ChannelRange, scheme: QuantScheme, options: QuantizeOptions
) -> QuantizedSite:
    """Choose everything about one site.

    Args:
        site: the activation and its readers.
        rows: its tokens.
        known: its range over all calibration text.
        scheme: the target's rules.
        options: what may be done.
    """
    weight, bias = site.weight, site.bias
    fitted, judges = rows.exact[~rows.held], _judges(rows)
    transform = _transform(site, fitted, judges, known, weight, scheme, options)
    matrix = transform.weight(weight)
    param = _param(transform, fitted, judges, known, matrix, scheme, options)
    if known.places is not None and options.shift and site.can_shift:
        transform = transform.staggered(known.places, param.scale)
    seen = _quantized(transform(rows.seen), param)
    exact = rows.exact @ weight + bias
    offset = bias + transform.offset(weight)
    rounded = _round(matrix, seen, exact - offset, rows.held, scheme.weight_qmax, options)
    got = seen @ rounded.dequantized() + offset
    correction = _correction(exact, got, rows.held) if options.bias_correction and site.can_shift else None
    got = got if correction is None else got + correction
    chosen = rows.held if rows.held.any() else ~rows.held
    own = rows.seen[chosen] @ weight + bias
    return QuantizedSite(
        transform,
        param,
        rounded,
        offset if correction is None else offset + correction,
        correction is not None,
        Noise(_decibel(own, got[chosen]), _decibel(exact[chosen], got[chosen])),
    )


def _judges(rows: Rows) -> NDArray[np.float32]:
    """Some of the rows that only judge; of all, where there are none."""
    chosen = rows.exact[rows.held] if rows.held.any() else rows.exact
    return chosen[:: max(1, -(-len(chosen) // SEARCH_ROWS))]


def _transform(
    site: Site,
    fitted: NDArray[np.float32],
    judges: NDArray[np.float32],
    known: ChannelRange,
    weight: NDArray[np.float32],
    scheme: QuantScheme,
    options: QuantizeOptions,
) -> Transform:
    if not options.smooth or len(fitted) == 0:
        return Transform.identity(len(weight))
    rules = SmoothRules(
        symmetric=not scheme.asymmetric,
        qmax=scheme.weight_qmax,
        shift=options.shift and site.can_shift,
        compensated=options.rounding == "gptq",
    )
    return search_transform(judges, ChannelRange.of(fitted), known, weight, rules)


def _param(
    transform: Transform,
    fitted: NDArray[np.float32],
    judges: NDArray[np.float32],
    known: ChannelRange,
    matrix: NDArray[np.float32],
    scheme: QuantScheme,
    options: QuantizeOptions,
) -> QParam:
    """The method whose range of the fitted rows serves the judges best, then its range of everything."""
    symmetric, signed = not scheme.asymmetric, scheme.activation == "s8"
    observer = RangeObserver()
    observer.update(transform(fitted))
    method = options.ranges
    if method == AUTO_RANGES:
        method = ranges.best_method(observer, transform(judges), matrix, symmetric=symmetric, signed=signed)
    observer.widen(transform(known.low), transform(known.high))
    bounds = choose_range(observer, method, symmetric=symmetric, signed=signed)
    return ranges.param(*bounds, source=method, symmetric=symmetric, signed=signed)


def _round(
    matrix: NDArray[np.float32],
    seen: NDArray[np.float32],
    wanted: NDArray[np.float32],
    held: NDArray[np.bool_],
    qmax: int,
    options: QuantizeOptions,
) -> QWeight:
    learnt = seen[~held]
    importance = np.mean(np.square(learnt, dtype=np.float64), axis=0)
    nearest = quantize_columns(matrix, qmax=qmax, importance=importance if importance.any() else None)
    if options.rounding == "nearest" or not held.any() or len(learnt) < len(matrix):
        return nearest
    wide = learnt.astype(np.float64)
    integers = gptq_round(matrix, wide.T @ wide, nearest.scale, qmax=qmax)
    compensated = QWeight(integers, nearest.scale, axis=1)
    return min(
        (compensated, nearest), key=lambda each: _square(seen[held] @ each.dequantized() - wanted[held])
    )


def _correction(
    exact: NDArray[np.float32], got: NDArray[np.float32], held: NDArray[np.bool_]
) -> NDArray[np.float32] | None:
    """The mean error of each output, if texts that it was not measured on gain by taking it off.

    Source: data-free quantization's bias correction, Nagel et al. 2019, section 4.2, measured here
    on calibration text instead of derived.
    """
    if not held.any():
        return None
    moved = np.asarray(np.mean(exact[~held] - got[~held], axis=0, dtype=np.float64), np.float32)
    left = exact[held] - got[held]
    return moved if _square(left - moved) < _square(left) else None


def _decibel(signal: NDArray[np.float32], got: NDArray[np.float32]) -> float | None:
    power, noise = _square(signal) if signal.size else 0.0, _square(signal - got) if signal.size else 0.0
    return 10.0 * log10(power / noise) if power > 0.0 and noise > 0.0 else None


def _square(error: NDArray[np.float32]) -> float:
    return float(np.mean(np.square(error, dtype=np.float64)))


def _quantized(x: NDArray[np.float32], param: QParam) -> NDArray[np.float32]:
    params = QuantParams(np.float32(param.scale), param.zero_point)
    return fake_quantize(x, params, bits=8, signed=param.signed)
