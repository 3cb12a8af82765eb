"""What a compile found out, as its report shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from compiler.structure import Structure
from compiler.validate import Validation
from targets.bundle.schema import Manifest

_DIGITS: Final = 6
_MS: Final = 4


@dataclass(frozen=True, slots=True)
class Point:
    """A model that was timed, on the evaluation data or not.

    Attributes:
        label: "FP32 on openvino", "int8 on onnxruntime".
        runtime: that ran it.
        precision: of its products.
        p50_ms: median milliseconds by "batch x length", as in "1x128"; empty where nothing was timed.
        value: of the metric on the evaluation data; None where it was not run on it.
        agreement: with FP32, from 0 to 1; None as `value`.
        outcome: what became of it, in words: "shipped", "slower", "failed the gate".
    """

    label: str
    runtime: str
    precision: str
    p50_ms: Mapping[str, float] = field(hash=False)
    value: float | None
    agreement: float | None
    outcome: str


@dataclass(frozen=True, slots=True)
class Trial:
    """A variant that a search ran on held-out texts.

    Attributes:
        label: what it was: "1.5x", "3 products in float".
        cost: where it lies on the axis that `Search.axis` names; None where that is not known.
        delta: change of the metric against FP32; None for outputs that are not finite.
        agreement: with FP32, from 0 to 1; None as `delta`.
        holds: whether the gate does.
    """

    label: str
    cost: float | None
    delta: float | None
    agreement: float | None
    holds: bool


@dataclass(frozen=True, slots=True)
class Search:
    """What `--precision auto` or `--prune auto` went through.

    Attributes:
        title: of the search.
        axis: what `Trial.cost` counts, with its unit.
        trials: in the order made.
    """

    title: str
    axis: str
    trials: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Timing:
    """The bundle against its checkpoint in FP32, in the same runtime, in turns.

    Attributes:
        batch, tokens: of every run, nothing padded.
        runs_ms: of the bundle, ascending.
        fp32_runs_ms: of FP32, ascending.
        speedup: how many times faster, and its 95% interval.
        threads: 0 for every core.
        cpu: where it was measured.
    """

    batch: int
    tokens: int
    runs_ms: tuple[float, ...]
    fp32_runs_ms: tuple[float, ...]
    speedup: tuple[float, float, float]
    threads: int
    cpu: str

    def to_json(self) -> dict[str, Any]:
        """Medians and tails in milliseconds, and the runs."""
        return {
            "shape": [self.batch, self.tokens],
            "p50_ms": percentile(self.runs_ms, 50),
            "p95_ms": percentile(self.runs_ms, 95),
            "p99_ms": percentile(self.runs_ms, 99),
            "fp32_p50_ms": percentile(self.fp32_runs_ms, 50),
            "speedup": [round(each, _MS) for each in self.speedup],
            "threads": self.threads,
            "cpu": self.cpu,
            "runs_ms": [round(each, _MS) for each in self.runs_ms],
            "fp32_runs_ms": [round(each, _MS) for each in self.fp32_runs_ms],
        }


@dataclass(frozen=True, slots=True)
class LayerNoise:
    """Signal-to-noise ratios of one quantized activation's readers, in dB.

    Attributes:
        role: the layers that read it, as in "layer0.query".
        own_db: of this layer's output, its input taken as it comes.
        total_db: of its output against FP32, with the noise of all layers before. None for both where
            there is no noise.
        computes: "int8", or "float" where it was left in float afterwards.
    """

    role: str
    own_db: float | None
    total_db: float | None
    computes: str


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of the calibration texts.

    Attributes:
        edges: tokens; bin i holds lengths from edges[i] up to but not including edges[i + 1].
        counts: texts by bin.
        median, longest: tokens.
        truncated: texts that were cut to the model's length.
    """

    edges: tuple[int, ...]
    counts: tuple[int, ...]
    median: int
    longest: int
    truncated: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a bundle's report shows.

    Attributes:
        manifest: all of it but its files and digest.
        validation: the accuracy gate.
        source_bytes: of the checkpoint's weights in FP32.
        model_bytes: of the model's files in the bundle.
        before: the checkpoint's structure, in FP32.
        after: the bundle's.
        points: what was timed; FP32 first where it was, then what ships, then the rest.
        searches: what was tried on held-out texts.
        timing: None where this machine is not the target.
        noise: by layer, in the graph's order; empty where nothing was calibrated.
        lengths: None where nothing was calibrated.
        seconds: by stage.
        warnings: of the compile, in order.
    """

    manifest: Manifest
    validation: Validation
    source_bytes: int
    model_bytes: int
    before: Structure
    after: Structure
    points: tuple[Point, ...] = ()
    searches: tuple[Search, ...] = ()
    timing: Timing | None = None
    noise: tuple[LayerNoise, ...] = ()
    lengths: Lengths | None = None
    seconds: Mapping[str, float] = field(default_factory=dict, hash=False)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """report/metrics.json: what the manifest does not hold, times included."""
        return {
            "validation": self.validation.to_json(),
            "tried": [_rounded(asdict(each)) for each in self.points],
            "searches": [_rounded(asdict(each)) for each in self.searches],
            "latency": None if self.timing is None else self.timing.to_json(),
            "noise": [_rounded(asdict(each)) for each in self.noise],
            "lengths": None if self.lengths is None else asdict(self.lengths),
            "source_bytes": self.source_bytes,
            "model_bytes": self.model_bytes,
            "seconds": {name: round(spent, 3) for name, spent in self.seconds.items()},
            "warnings": list(self.warnings),
        }


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The value that `percent` of an ascending, not empty sequence do not exceed (nearest rank)."""
    rank = max(1, -(-len(ascending) * percent // 100))
    return round(ascending[int(rank) - 1], _MS)


def _rounded(value: Any) -> Any:
    """Tuples as lists, floats to 6 decimals."""
    if isinstance(value, float):
        return round(value, _DIGITS) + 0.0
    if isinstance(value, Mapping):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, tuple | list) else value
