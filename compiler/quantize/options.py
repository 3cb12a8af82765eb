"""How to quantize."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Rounding = Literal["gptq", "nearest"]

AUTO_RANGES: Final = "auto"


@dataclass(frozen=True)
class QuantizeOptions:
    """The techniques that static quantization uses; each can be left out, to see what it brings.

    Attributes:
        ranges: a method of `calibration.ranges.METHODS`, or "auto".
        smooth: whether outlying channels are moved into the weights.
        shift: whether smoothing may also move channels to the middle of their range.
        split: whether outlying hidden channels of feed-forward blocks become several.
        rounding: of weights; "gptq" lets each input channel make good the errors of those before it.
        bias_correction: whether biases make good the mean error of their layer.
        sequential: whether each layer is fitted to what the quantized layers before it make, and so
            mends some of their error; if not, no layer depends on another, and any may be left in float.
        threads: for the calibration run, 0 for every core.
    """

    ranges: str = AUTO_RANGES
    smooth: bool = True
    shift: bool = True
    split: bool = True
    rounding: Rounding = "gptq"
    bias_correction: bool = True
    sequential: bool = True
    threads: int = 0


PLAIN: Final = QuantizeOptions(
    ranges="minmax",
    smooth=False,
    shift=False,
    split=False,
    rounding="nearest",
    bias_correction=False,
    sequential=False,
)
"""None of the techniques."""
