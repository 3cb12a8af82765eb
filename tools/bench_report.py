"""What the tools measured: a table for people and a JSON document."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from compiler.latency import Ratio
from compiler.validate import Validation
from targets.detect import Machine

PACKAGES = ("bertc", "torch", "transformers", "onnxruntime", "openvino", "nncf", "numpy", "tokenizers")


@dataclass(frozen=True, slots=True)
class ShapeResult:
    """Median milliseconds of `batch` texts of `tokens` tokens, and the speedup over the baseline."""

    batch: int
    tokens: int
    p50_ms: float
    speedup: Ratio


@dataclass(frozen=True, slots=True)
class TextsResult:
    """Milliseconds of real texts, one at a time, and the speedup of the median over the baseline."""

    texts: int
    p50_ms: float
    mean_ms: float
    speedup: Ratio


@dataclass(frozen=True, slots=True)
class Row:
    """One model.

    Attributes:
        name: in the table.
        model_bytes: of its weights or files.
        validation: against the baseline, on the evaluation data.
        latency: one entry for each shape.
        cold_start_s: seconds from the start of a process to its first answer, of bundles.
        mse: mean squared error of its logits or embeddings to the baseline's, where it was asked for.
        texts: latency on real texts, where it was asked for.
    """

    name: str
    model_bytes: int
    validation: Validation
    latency: tuple[ShapeResult, ...]
    cold_start_s: float | None = None
    mse: float | None = None
    texts: TextsResult | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "model_bytes": self.model_bytes,
            "validation": self.validation.to_json(),
            "latency": [asdict(each) for each in self.latency],
            "cold_start_s": self.cold_start_s,
            "mse": self.mse,
            "texts": None if self.texts is None else asdict(self.texts),
        }


def markdown(rows: Sequence[Row]) -> str:
    """The table in Markdown, aligned; the first row is what the others are compared with.

    A column that no row has is left out.
    """
    first = rows[0]
    head = ["model", "MB", first.validation.metric, "agreement", "MSE"]
    head += [f"{each.batch}x{each.tokens}" for each in first.latency]
    head += ["texts", "first answer"]
    cells = [head, *(_cells(row, baseline=row is first) for row in rows)]
    optional = {"MSE", "texts", "first answer"}
    kept = [i for i, name in enumerate(head) if name not in optional or any(line[i] for line in cells[1:])]
    return table([[line[i] for i in kept] for line in cells])


def table(lines: Sequence[Sequence[str]]) -> str:
    """Aligned Markdown; the first line is the head, and the first column is text."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_line(cells, widths) for cells in (lines[0], rule, *lines[1:]))


def _cells(row: Row, *, baseline: bool) -> list[str]:
    found, texts = row.validation, row.texts
    return [
        row.name,
        f"{row.model_bytes / 1e6:.1f}",
        "" if found.compiled is None else f"{found.compiled:.4f}",
        "" if found.agreement is None else f"{100 * found.agreement:.2f}%",
        "" if row.mse is None else f"{row.mse:.2g}",
        *(_time(each.p50_ms, None if baseline else each.speedup) for each in row.latency),
        "" if texts is None else _time(texts.p50_ms, None if baseline else texts.speedup),
        "" if row.cold_start_s is None else f"{row.cold_start_s:.2f} s",
    ]


def _time(milliseconds: float, ratio: Ratio | None) -> str:
    times = "" if ratio is None else f", {ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"{milliseconds:.2f} ms{times}"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
    return f"| {' | '.join(padded)} |"


def environment(here: Machine, command: str) -> dict[str, Any]:
    """Where and how the numbers were taken."""
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": here.cpu_model,
            "cores": here.cores,
            "memory_mb": here.memory_mb,
            "arch": here.arch,
            "os": here.os,
            "python": platform.python_version(),
        },
        "versions": installed(PACKAGES),
    }


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Versions of those packages that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def summary(where: Mapping[str, Any], *, threads: int, rounds: int, texts: int) -> str:
    """The lines above the table."""
    machine, versions = where["machine"], where["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_mb']} MiB, {machine['os']}; "
        f"Python {machine['python']}, {listed}\n"
        f"{where['date']}\n"
        f"{threads} threads, median of {rounds} interleaved rounds; times faster than torch FP32, "
        f"95% interval; {texts} evaluation texts"
    )
