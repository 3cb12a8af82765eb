"""What a validation of an artifact shows: measured here, or simulated for a device that is not here."""

from __future__ import annotations

from targets.detect import Machine
from targets.spec import Evidence, TargetSpec


def evidence_of(spec: TargetSpec, here: Machine) -> Evidence:
    """What a machine shows of a target: artifacts for another one, or for a GPU or NPU, are simulated."""
    return "measured" if here.measures(spec) else "simulated"
