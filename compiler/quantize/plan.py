"""What is quantized, how and why: a side table, with no node in the graph before lowering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Compute = Literal["int8", "fp8", "float"]

HEAD: Final = "head"
"""The role of a linear layer outside the encoder."""


@dataclass(frozen=True, slots=True)
class QParam:
    """`real = scale * (integer - zero_point)` for a tensor.

    Attributes:
        scale: positive.
        zero_point: 0 for signed symmetric, 128 for the same numbers in an unsigned encoding.
        signed: storage type S8, else U8.
        symmetric: whether the range is (-a, a) around the zero point.
        source: how the range was chosen.
    """

    scale: float
    zero_point: int
    signed: bool
    symmetric: bool
    source: str

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest number that the 8-bit integers represent."""
        low, high = (-128, 127) if self.signed else (0, 255)
        return self.scale * (low - self.zero_point), self.scale * (high - self.zero_point)

    def to_json(self) -> dict[str, Any]:
        """For the debug record."""
        return {
            "scale": self.scale,
            "zero_point": self.zero_point,
            "type": "s8" if self.signed else "u8",
            "source": self.source,
        }


@dataclass(frozen=True, slots=True)
class QWeight:
    """A constant matrix as integers.

    Attributes:
        values: S8 of the matrix' shape, or FP8 (ml_dtypes' float8_e4m3fn).
        scale: float32, one per column (axis 1) of a weight, one per row (axis 0) of a table.
        axis: the axis that `scale` runs along.
    """

    values: NDArray[Any]
    scale: NDArray[np.float32]
    axis: int

    def dequantized(self) -> NDArray[np.float32]:
        """The matrix that the integers stand for."""
        shape = (1, -1) if self.axis == 1 else (-1, 1)
        return np.asarray(self.values.astype(np.float32) * self.scale.reshape(shape), np.float32)


@dataclass(frozen=True, slots=True)
class Decision:
    """The numbers that one product is computed on, and why."""

    compute: Compute
    reason: str


@dataclass(frozen=True, slots=True)
class LinearPlan:
    """A linear layer.

    Attributes:
        role: its place in the encoder.
        decision: INT8 or float.
        weight: [in, out] as integers; None when it stays float.
        input: None when it is quantized on the fly or the layer stays float.
        bias: float32 [out], in place of the graph's own where the layer runs in INT8; None keeps that.
    """

    role: str
    decision: Decision
    weight: QWeight | None = None
    input: QParam | None = None
    bias: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class AttentionPlan:
    """The two products of one attention; the probabilities are over [0, 1] always."""

    role: str
    decision: Decision
    query: QParam | None = None
    key: QParam | None = None
    value: QParam | None = None


@dataclass(frozen=True, slots=True)
class QuantPlan:
    """The plan of a whole graph, keyed by node name.

    Attributes:
        linears: by the product's name.
        attentions: by the Attention's name.
        tables: by the Gather's name; an absent table stays float.
        scheme: what the numbers mean, for the manifest.
    """

    linears: Mapping[str, LinearPlan] = field(default_factory=dict)
    attentions: Mapping[str, AttentionPlan] = field(default_factory=dict)
    tables: Mapping[str, QWeight] = field(default_factory=dict)
    scheme: Mapping[str, Any] = field(default_factory=dict)

    @property
    def static(self) -> bool:
        """Whether activations have parameters fixed by calibration."""
        return any(each.input is not None for each in self.linears.values())

    def to_json(self) -> dict[str, Any]:
        """Counts, and every exception with its reason: what the manifest keeps."""
        decisions = {name: (plan.role, plan.decision) for name, plan in self.linears.items()}
        decisions |= {name: (plan.role, plan.decision) for name, plan in self.attentions.items()}
        floats = [
            {"name": name, "role": role, "reason": decision.reason}
            for name, (role, decision) in sorted(decisions.items())
            if decision.compute == "float"
        ]
        return {
            "scheme": dict(self.scheme),
            "int8_linears": sum(p.decision.compute == "int8" for p in self.linears.values()),
            "int8_attentions": sum(p.decision.compute == "int8" for p in self.attentions.values()),
            "int8_tables": len(self.tables),
            "float": floats,
        }
