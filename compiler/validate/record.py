"""What a validation found, and whether the gate let it through."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

Status: TypeAlias = Literal["passed", "failed", "not-measured"]

DIGITS: Final = 6
_TOLERANCE: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Validation:
    """The FP32 model against the artifact on one metric, and the gate's verdict.

    Attributes:
        metric: name of the primary metric; empty where nothing was measured, and null in JSON.
        baseline: of the FP32 model; None without it.
        compiled: of the artifact; None without labels and without the FP32 model.
        delta: compiled - baseline, absolute.
        ci95: paired bootstrap interval of the delta.
        agreement: how alike the two models' answers are, from 0 to 1 (a correlation for regression).
        n: rows behind the metric.
        evidence: where the artifact ran: "measured", "emulated" or "simulated"; "none" if nowhere.
        status: the gate's verdict.
        max_drop: the gate: the largest loss of the metric that passes.
        labelled: whether the metric compares with labels, not with the FP32 model.
        metrics: every metric by name, of "baseline" and of "compiled".
        reason: why nothing was measured, or why the gate failed for another reason than the metric.
        integer: how far the artifact is from the exact integer reference on the same texts: "agreement", and
            "max_abs" and "mse" of what the models put out; None where nobody compared.
        emulator: what stood in for the device: "cpu", "qemu", "runtime", "version", and "selftest", whether
            the bundle's own test passed there; None for other evidence.
        simulated: what was simulated of the same artifact before it was emulated.
    """

    metric: str
    baseline: float | None
    compiled: float | None
    delta: float | None
    ci95: tuple[float, float] | None
    agreement: float | None
    n: int
    evidence: str
    status: Status
    max_drop: float | None
    labelled: bool
    metrics: Mapping[str, Mapping[str, float]] = field(hash=False)
    reason: str | None = None
    integer: Mapping[str, float | None] | None = field(default=None, hash=False)
    emulator: Mapping[str, Any] | None = field(default=None, hash=False)
    simulated: Validation | None = None

    @property
    def failed_self_test(self) -> bool:
        """Whether the bundle's own test failed on the emulated device."""
        return self.emulator is not None and not self.emulator["selftest"]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, floats rounded to 6 decimals; what follows `metrics` only where there is any."""
        record: dict[str, Any] = {
            "metric": self.metric or None,
            "baseline": _rounded(self.baseline),
            "compiled": _rounded(self.compiled),
            "delta": _rounded(self.delta),
            "ci95": None if self.ci95 is None else [_rounded(end) for end in self.ci95],
            "agreement": _rounded(self.agreement),
            "n": self.n,
            "evidence": self.evidence,
            "status": self.status,
            "gate": {"max_drop": self.max_drop},
            "labelled": self.labelled,
            "metrics": {
                side: {name: _rounded(value) for name, value in values.items()}
                for side, values in self.metrics.items()
            },
        }
        if self.reason is not None:
            record["reason"] = self.reason
        if self.integer is not None:
            record["integer"] = {name: _rounded(value) for name, value in self.integer.items()}
        if self.emulator is not None:
            record["emulator"] = dict(self.emulator)
        if self.simulated is not None:
            record["simulated"] = self.simulated.to_json()
        return record


def gate(delta: float, max_drop: float) -> Status:
    """Whether a change of the metric is no loss larger than `max_drop`; a delta of NaN fails."""
    return "passed" if delta >= -max_drop - _TOLERANCE else "failed"


def not_measured(reason: str, max_drop: float | None = None) -> Validation:
    """The record of an artifact that nobody compared with anything, and why."""
    return Validation(
        metric="",
        baseline=None,
        compiled=None,
        delta=None,
        ci95=None,
        agreement=None,
        n=0,
        evidence="none",
        status="not-measured",
        max_drop=max_drop,
        labelled=False,
        metrics={"baseline": {}, "compiled": {}},
        reason=reason,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), DIGITS) + 0.0
