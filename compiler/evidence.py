"""What a validation of an artifact shows: measured here, or simulated for a device that is not here."""

from __future__ import annotations

from targets.detect import Machine
from targets.spec import Evidence, TargetSpec


def evidence_of(spec: TargetSpec, here: Machine) -> Evidence:
    """What a machine shows of a target: artifacts for another one, or for a GPU or NPU, are simulated.

    A CPU with integer dot products shows nothing of one without, although it runs the same programs: 16-bit
    sums do not saturate on it.
    """
    alike = here.fits(spec) and not spec.devices
    return "measured" if alike and not (spec.saturates and here.dot_products) else "simulated"
