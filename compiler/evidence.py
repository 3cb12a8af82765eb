"""What a validation of an artifact shows: measured here, or simulated for a device that is not here."""

from __future__ import annotations

from typing import Final

from targets.detect import Machine
from targets.spec import Evidence, TargetSpec

HALF_RANGE: Final = 64
"""Weights up to it keep pairs of U8 x S8 products within 16 bits."""


def evidence_of(spec: TargetSpec, here: Machine) -> Evidence:
    """What a machine shows of a target: artifacts for another one, or for a GPU or NPU, are simulated."""
    return "measured" if here.measures(spec) else "simulated"


def computes_alike(spec: TargetSpec, here: Machine) -> bool:
    """Whether INT8 products of this machine's kernels are a target's.

    Not if only one of them saturates, and the weights have the full range.
    """
    safe = all(each.scheme.weight_qmax <= HALF_RANGE for each in spec.runtimes)
    return spec.gpu or safe or here.saturates_as(spec.arch, spec.cpu_features)
