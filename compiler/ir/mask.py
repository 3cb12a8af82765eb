"""The padding mask of attention: what it adds, and where it comes from."""

from __future__ import annotations

from typing import Final

import onnx_ir as ir

from compiler.ir.edit import constant, produced_by, scalar

MASKED: Final = -30000.0
"""What is added to the score of a masked position: exp of it is 0 in FP32, and FP16 still holds it."""

HIDDEN: Final = -1e4
"""A mask that adds this or less hides a position."""


def mask_source(mask: ir.Value | None) -> ir.Value | None:
    """The [batch, sequence] input m behind `Unsqueeze((1 - m) * low, axes 1 and 2)`, or None."""
    view = produced_by(mask, "Unsqueeze")
    scale = None if view is None else produced_by(view.inputs[0], "Mul")
    flip = None if scale is None else produced_by(scale.inputs[0], "Sub")
    cast = None if flip is None else produced_by(flip.inputs[1], "Cast")
    if view is None or scale is None or flip is None or cast is None:
        return None
    axes, low, source = constant(view.inputs[1]), scalar(scale.inputs[1]), cast.inputs[0]
    if (
        axes is None
        or axes.tolist() != [1, 2]
        or low is None
        or low > HIDDEN
        or scalar(flip.inputs[0]) != 1.0
    ):
        return None
    return source if source is not None and source.is_graph_input() else None
