"""What a compile returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compiler.validate import Validation
from targets.errors import UsageError

if TYPE_CHECKING:
    from compiler.report.facts import Timing
    from compiler.report.report import Report


@dataclass(frozen=True, slots=True)
class BundleResult:
    """One bundle.

    Attributes:
        path: its folder.
        target: id of the device.
        runtime: the backend that was chosen.
        precision: of the model.
        content_digest: of model, tokenizer and self-test.
        model_bytes: bytes of the model's files.
        source_bytes: bytes of the checkpoint's weights in FP32.
        validation: the accuracy gate.
        candidates: median latency of every runtime that was built, the chosen one first.
        seconds: by stage.
        pruning: of `Pruned.to_json`, empty where nothing was to be pruned.
        quantization: of `QuantPlan.to_json`.
        runs_here: whether this machine can run it.
        emulation: the CPU that can stand for its target; None where none can. What follows `seconds` is not
            in the JSON of a compile, but for `reproduces`.
        reported: whether it has a report.html.
        timing: against FP32 in the same runtime; None where it was not measured.
        reproduces: whether it has the content digest of the record that it was compiled from; None, and not
            in the JSON, where it was compiled from none.
        differences: what differs from that record, and why, in one line.
    """

    path: Path
    target: str
    runtime: str
    precision: str
    content_digest: str
    model_bytes: int
    source_bytes: int
    validation: Validation
    candidates: Sequence[Mapping[str, Any]] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    quantization: Mapping[str, Any] = field(default_factory=dict)
    pruning: Mapping[str, Any] = field(default_factory=dict)
    runs_here: bool = True
    emulation: str | None = None
    timing: Timing | None = None
    reported: bool = False
    reproduces: bool | None = None
    differences: str = ""

    @property
    def report(self) -> Report:
        """Of the bundle, from its folder; a notebook shows it.

        Raises:
            UsageError: it was compiled without one, or is gone.
        """
        from compiler.report.report import Report

        return Report.open(self.path)

    def to_json(self) -> dict[str, Any]:
        """An interface: scripts read these names."""
        return {
            "path": str(self.path),
            "target": self.target,
            "runtime": self.runtime,
            "precision": self.precision,
            "content_digest": self.content_digest,
            "model_bytes": self.model_bytes,
            "source_bytes": self.source_bytes,
            "validation": self.validation.to_json(),
            "candidates": [dict(each) for each in self.candidates],
            "seconds": {name: round(spent, 3) for name, spent in self.seconds.items()},
            **({} if self.reproduces is None else {"reproduces": self.reproduces}),
        }


@dataclass(frozen=True, slots=True)
class CompileResult:
    """Every bundle of one compile."""

    bundles: tuple[BundleResult, ...]

    def to_json(self) -> dict[str, Any]:
        """What `bertc compile --json` prints."""
        return {"bundles": [each.to_json() for each in self.bundles]}

    def _repr_html_(self) -> str:
        """Every bundle's report, one below the other; its path where it has none."""
        return "".join(map(_shown, self.bundles))


def _shown(bundle: BundleResult) -> str:
    try:
        return bundle.report._repr_html_()
    except UsageError as error:
        return f"<p>{escape(str(bundle.path))}: {escape(error.message)}</p>"
