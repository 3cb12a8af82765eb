"""What `tools.soak` found: a line fitted through the memory, whether it is flat, and a page of it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from targets.detect import machine
from tools.soak_run import Sample, Soak

WARM_UP: Final = 0.25
FLAT: Final = 0.01
CRITERION: Final = (
    f"flat: after the first {WARM_UP:.0%} of the texts, the line of least squares through the resident "
    f"memory rises by less than {FLAT:.0%} of it up to the last sample, and the one through the number of "
    "Python's objects as little"
)
_PACKAGES: Final = ("bertc", "onnxruntime", "openvino", "numpy", "tokenizers")
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """A line through samples after warm-up: its slope for each text, and how far it rises, of its start."""

    slope: float
    rise: float

    @property
    def flat(self) -> bool:
        """Whether it rises by less than `FLAT`."""
        return self.rise < FLAT


@dataclass(frozen=True, slots=True)
class Result:
    """What one way of running showed.

    Attributes:
        how: it ran.
        texts: answered.
        texts_per_s: over all of them.
        first: the first sample.
        warm: the first sample after warm-up.
        last: the last sample.
        memory: the line through the resident bytes.
        objects: the line through the number of Python's objects; None where they were not counted.
    """

    how: str
    texts: int
    texts_per_s: float
    first: Sample
    warm: Sample
    last: Sample
    memory: Line
    objects: Line | None

    @property
    def flat(self) -> bool:
        """Whether memory is flat; see `CRITERION`."""
        return self.memory.flat and (self.objects is None or self.objects.flat)

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return {**asdict(self), "flat": self.flat}


def result_of(soak: Soak) -> Result:
    """Fits the lines.

    Args:
        soak: with three samples or more after warm-up.
    """
    warm = [each for each in soak.samples if each.texts >= WARM_UP * soak.texts]
    last = soak.samples[-1]
    counted = [each.objects for each in warm if each.objects is not None]
    texts = [each.texts for each in warm]
    return Result(
        soak.how,
        soak.texts,
        soak.texts / soak.seconds,
        soak.samples[0],
        warm[0],
        last,
        fit(texts, [each.rss for each in warm]),
        fit(texts, counted) if len(counted) == len(warm) else None,
    )


def fit(texts: Sequence[int], values: Sequence[float]) -> Line:
    """The line of least squares through values after so many texts."""
    slope, start = np.polyfit(np.asarray(texts, float) - texts[0], np.asarray(values, float), 1)
    return Line(float(slope), float(slope * (texts[-1] - texts[0]) / start))


def environment(command: str) -> dict[str, Any]:
    """Where and how it ran."""
    here = machine()
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    kind = f"{here.cores} cores of an {here.arch.replace('_', '-')} CPU" + (
        " with VNNI" if here.cpu_features & {"avx512_vnni", "avx_vnni"} else ""
    )
    return {
        "command": command,
        "machine": kind,
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()),
        "versions": versions,
    }


def page(where: dict[str, Any], bundle: str, results: Sequence[Result]) -> str:
    """The table in Markdown, with what it is of."""
    versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
    head = (
        *("how", "texts", "texts/s", "first MiB", "after warm-up", "last", "highest"),
        *("bytes/text", "rise", "objects/1000 texts", ""),
    )
    lines = [head, *(_cells(each) for each in results)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    rows = "\n".join(_row(cells, widths) for cells in (lines[0], rule, *lines[1:]))
    return (
        f"    {where['command']}\n\n{bundle}; {where['machine']}; Python {where['python']}, {where['libc']}, "
        f"{versions}\n\n{rows}\n\nMemory is {CRITERION}.\n"
    )


def document(where: dict[str, Any], bundle: str, soaks: Sequence[Soak], results: Sequence[Result]) -> str:
    """Everything as JSON, the samples too."""
    runs = [
        {**result.to_dict(), "samples": [asdict(each) for each in soak.samples]}
        for soak, result in zip(soaks, results, strict=True)
    ]
    return json.dumps({**where, "bundle": bundle, "criterion": CRITERION, "runs": runs}, indent=2)


def _cells(result: Result) -> tuple[str, ...]:
    sizes = (result.first.rss, result.warm.rss, result.last.rss, result.last.peak)
    objects = "" if result.objects is None else f"{1000 * result.objects.slope:+.2f}"
    return (
        result.how,
        str(result.texts),
        f"{result.texts_per_s:.0f}",
        *(f"{size / _MIB:.1f}" for size in sizes),
        f"{result.memory.slope:+.2f}",
        f"{result.memory.rise:+.2%}",
        objects,
        "flat" if result.flat else "NOT FLAT",
    )


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))]
    return f"| {' | '.join(padded)} |"
