"""SmoothQuant and Outlier Suppression+: an activation's channels brought to one range, exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from compiler.quantize.error import activation_error
from compiler.quantize.statistics import ChannelRange
from compiler.quantize.weights import round_to

ALPHAS: Final = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_LEAST_GAIN: Final = 0.9
_FLOOR: Final = 1e-5
_COMPENSATED: Final = 0.5


@dataclass(frozen=True, slots=True)
class Smoothing:
    """What was done at one value.

    Attributes:
        value: the activation's name before smoothing.
        role: the layer that reads it.
        alpha: the exponent that was chosen, 0 for no scale.
        folded: whether it went into the weights on both sides, at no cost when running.
        gain: error of the layer's output without smoothing, divided by the error with it.
        shifted: whether channels were also moved to the middle of their range.
    """

    value: str
    role: str
    alpha: float
    folded: bool
    gain: float
    shifted: bool = False


@dataclass(frozen=True, slots=True)
class Transform:
    """`t = (x - shift) / scale`, channel by channel, undone by the weight: `x W = t (scale W) + shift W`.

    Attributes:
        scale: float32 [in], positive.
        shift: float32 [in].
        alpha: 0 where every scale is 1.
        gain: see `Smoothing`.
    """

    scale: NDArray[np.float32]
    shift: NDArray[np.float32]
    alpha: float = 0.0
    gain: float = 1.0

    @classmethod
    def identity(cls, channels: int) -> Transform:
        """The transform that does nothing."""
        return cls(np.ones(channels, np.float32), np.zeros(channels, np.float32))

    @property
    def shifted(self) -> bool:
        """Whether any channel moves."""
        return bool(self.shift.any())

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return self.alpha > 0.0 or self.shifted

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of rows [..., in]."""
        return np.asarray((x - self.shift) / self.scale, np.float32)

    def weight(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """`scale W`, [in, out]."""
        return np.asarray(weight * self.scale[:, None], np.float32)

    def staggered(self, places: NDArray[np.float32], step: float) -> Transform:
        """With channels moved by a part of a step of the quantization, [in] (see `split.places_of`)."""
        moved = self.shift - self.scale * (places * np.float32(step))
        return replace(self, shift=np.asarray(moved, np.float32))

    def offset(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """`shift W`, [out], which goes into the bias."""
        return np.asarray(self.shift.astype(np.float64) @ weight.astype(np.float64), np.float32)


@dataclass(frozen=True, slots=True)
class SmoothRules:
    """What a search may do, and for which quantization.

    Attributes:
        symmetric: whether activations are quantized symmetrically.
        qmax: largest weight integer.
        shift: whether channels may be moved.
        compensated: whether the weight's rounding will be compensated (GPTQ), which takes about half
            of its error away.
    """

    symmetric: bool
    qmax: int
    shift: bool
    compensated: bool


def search_transform(
    rows: NDArray[np.float32],
    fitted: ChannelRange,
    known: ChannelRange,
    weight: NDArray[np.float32],
    rules: SmoothRules,
) -> Transform:
    """The transform after which quantization costs the layer's output least, "off" among the choices.

    `s_j = max|x_j - z_j|^a / max|W_j|^(1-a)` (SmoothQuant, Xiao et al. 2023, equation 4) over a grid of
    exponents, with z = 0 or `z_j = (min x_j + max x_j) / 2` (Outlier Suppression+, Wei et al. 2023,
    equation 4). At a = 1 every channel has the whole range to itself. Each step, from nothing to a
    scale and from a scale to a shift as well, must lower the error by a tenth. Tight channels clip what
    was not seen, so the exponent is chosen by rows outside of what its trial was fitted to.

    Args:
        rows: activations that judge, [n, in].
        fitted: the range of each channel over other rows.
        known: the range over all calibration text, which the result is made for.
        weight: of all readers, [in, out].
        rules: see `SmoothRules`.
    """
    exact = rows @ weight
    off = Transform.identity(len(weight))
    start = least = _error(off, rows, fitted, weight, exact, rules)
    chosen: tuple[float, bool] | None = None
    for shift in (False, True) if rules.shift else (False,):
        errors = {
            alpha: _error(_transform(fitted, weight, alpha, shift), rows, fitted, weight, exact, rules)
            for alpha in ALPHAS
        }
        alpha = min(ALPHAS, key=lambda each: errors[each])
        if errors[alpha] < _LEAST_GAIN * least:
            chosen, least = (alpha, shift), errors[alpha]
    if chosen is None:
        return off
    return replace(_transform(known, weight, *chosen), gain=start / max(least, 1e-30))


def _transform(known: ChannelRange, weight: NDArray[np.float32], alpha: float, shift: bool) -> Transform:
    low, high = known.low, known.high
    middle = ((low + high) / 2.0 if shift else np.zeros_like(low)).astype(np.float32)
    reach = np.maximum(np.maximum(np.abs(low - middle), np.abs(high - middle)), _FLOOR)
    width = np.maximum(np.abs(weight).max(axis=1), _FLOOR)
    scale = reach**alpha / width ** (1.0 - alpha)
    return Transform((scale / np.exp(np.log(scale).mean())).astype(np.float32), middle, alpha)


def _error(
    transform: Transform,
    rows: NDArray[np.float32],
    fitted: ChannelRange,
    weight: NDArray[np.float32],
    exact: NDArray[np.float32],
    rules: SmoothRules,
) -> float:
    scaled = transform.weight(weight)
    step = np.maximum(np.abs(scaled).max(axis=0) / rules.qmax, np.finfo(np.float32).tiny)
    rounding = round_to(scaled, step, rules.qmax) * step - scaled
    rounded = scaled + (_COMPENSATED if rules.compensated else 1.0) * rounding
    bounds = float(transform(fitted.low).min()), float(transform(fitted.high).max())
    return activation_error(
        transform(rows), rounded, exact - transform.offset(weight), bounds, symmetric=rules.symmetric
    )
