"""What `tools.prune_study` found: tables, a JSON document and a page of the documentation."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from compiler.latency import Ratio
from compiler.validate import Validation
from tools.bench_report import table

OVERLAP: Final = "overlap_at_10"
_PLAIN: Final = ("method", "seed", "budget", "flops_kept", "seconds")


@dataclass(frozen=True, slots=True)
class Cell:
    """One method at one budget with one seed.

    Attributes:
        method: its name.
        seed: of the pruning texts.
        budget: how many times fewer FLOPs were asked for.
        flops_kept: share of the encoder's FLOPs.
        fp32: against the dense model in FP32.
        int8: the same of the INT8 artifact; None where it was not made.
        seconds: to weigh and to prune.
        kept: heads or neurons by module.
    """

    method: str
    seed: int
    budget: float
    flops_kept: float
    fp32: Validation
    int8: Validation | None
    seconds: float
    kept: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Timing:
    """An INT8 artifact against the dense INT8 artifact, at one shape."""

    budget: float
    batch: int
    tokens: int
    dense_ms: float
    p50_ms: float
    ratio: Ratio


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that one run measured.

    Attributes:
        where: the command, the machine and the versions.
        settings: model, seeds, numbers of texts, runtime.
        baseline: of the metric, dense in FP32.
        cells: by method, seed and budget.
        timings: by shape and budget.
    """

    where: Mapping[str, Any]
    settings: Mapping[str, Any]
    baseline: float | None
    cells: tuple[Cell, ...]
    timings: tuple[Timing, ...]

    def to_json(self) -> str:
        """The document, indented."""
        document = {**self.where, **self.settings, "baseline": self.baseline}
        document["cells"] = [
            {
                **{
                    name: getattr(each, name)
                    for name in ("method", "seed", "budget", "flops_kept", "seconds")
                },
                "kept": dict(each.kept),
                "fp32": each.fp32.to_json(),
                "int8": None if each.int8 is None else each.int8.to_json(),
            }
            for each in self.cells
        ]
        document["timings"] = [asdict(each) for each in self.timings]
        return json.dumps(document, indent=2) + "\n"

    def tables(self) -> str:
        """Accuracy, agreement and time, in Markdown."""
        parts = [
            accuracy_table(self.cells),
            fidelity_table(self.cells),
            *(
                [overlap_table(self.cells)]
                if OVERLAP in self.cells[0].fp32.metrics.get("compiled", {})
                else []
            ),
            *([timing_table(self.timings)] if self.timings else []),
            kept_table(self.cells),
        ]
        return "\n\n".join(parts)


def accuracy_table(cells: Sequence[Cell]) -> str:
    """Points lost against the dense FP32 model: means over the seeds, the worst in parentheses."""
    return _table(cells, lambda each: None if each.delta is None else -100 * each.delta, max, "drop, points")


def fidelity_table(cells: Sequence[Cell]) -> str:
    """Agreement with the dense FP32 model, likewise."""
    return _table(
        cells, lambda each: None if each.agreement is None else 100 * each.agreement, min, "agreement, %"
    )


def overlap_table(cells: Sequence[Cell]) -> str:
    """Share of the ten nearest neighbours that are the dense model's, likewise; of embeddings."""
    return _table(
        cells, lambda each: 100 * each.metrics["compiled"][OVERLAP], min, "of the 10 nearest neighbours, %"
    )


def timing_table(timings: Sequence[Timing]) -> str:
    """A line for each shape and budget."""
    head = [
        "shape",
        "FLOPs",
        "dense INT8, ms",
        "pruned INT8, ms",
        "faster",
        "95% interval",
        "of the FLOPs ratio",
    ]
    rows = [
        [
            f"{each.batch}x{each.tokens}", f"{each.budget:g}x fewer", f"{each.dense_ms:.2f}",
            f"{each.p50_ms:.2f}", f"{each.ratio.value:.2f}x",
            f"{each.ratio.low:.2f} to {each.ratio.high:.2f}",
            f"{each.ratio.value / each.budget:.2f}",
        ]
        for each in timings
    ]  # fmt: skip
    return table([head, *rows])


def kept_table(cells: Sequence[Cell]) -> str:
    """Heads and neurons that the first method keeps with the first seed."""
    own = [each for each in cells if (each.method, each.seed) == (cells[0].method, cells[0].seed)]
    head = ["kept", *(f"{each.budget:g}x fewer" for each in own)]
    return table([head, *([name, *(str(each.kept[name]) for each in own)] for name in own[0].kept)])


_PAGE: Final = """\
# Pruning {model}

Made by the command below: {model} pruned without retraining by {samples} texts drawn with seeds {seeds},
evaluated on {texts} other texts ({metric}; dense in FP32 {baseline}). INT8 is calibrated on the pruned graph
and runs in {runtime}. FLOPs are those of the encoder for one text of 128 tokens.

    {command}

{cpu}, {cores} cores; Python {python}, {versions}; {date}.

Numbers are means over the seeds, with the worst of them in parentheses. Drops are against the dense model
in FP32; below 0 it is a gain.

{tables}

Weighing and pruning took {seconds:.0f} s on average for the first method.
"""


def page(found: Found) -> str:
    """The page of the documentation."""
    where, settings = found.where, found.settings
    own = [each.seconds for each in found.cells if each.method == found.cells[0].method]
    return _PAGE.format(
        model=settings["model"],
        samples=settings["prune_samples"],
        seeds=", ".join(map(str, settings["seeds"])),
        texts=settings["texts"],
        metric=settings["metric"],
        baseline="1" if found.baseline is None else f"{found.baseline:.4f}",
        runtime=settings["runtime"],
        command=where["command"],
        cpu=where["machine"]["cpu"],
        cores=where["machine"]["cores"],
        python=where["machine"]["python"],
        versions=", ".join(f"{name} {version}" for name, version in where["versions"].items()),
        date=where["date"][:10],
        tables=found.tables(),
        seconds=statistics.mean(own),
    )


def _table(
    cells: Sequence[Cell],
    value: Callable[[Validation], float | None],
    worst: Callable[[Iterable[float]], float],
    what: str,
) -> str:
    budgets = list(dict.fromkeys(each.budget for each in cells))
    head = [what, *(f"{each:g}x fewer FLOPs" for each in budgets)]
    rows = []
    for name in dict.fromkeys(each.method for each in cells):
        own = {
            each: [cell for cell in cells if (cell.method, cell.budget) == (name, each)] for each in budgets
        }
        rows.append([f"{name}, FP32", *(_mean(own[each], "fp32", value, worst) for each in budgets)])
        if own[budgets[0]][0].int8 is not None:
            rows.append([f"{name}, INT8", *(_mean(own[each], "int8", value, worst) for each in budgets)])
    return table([head, *rows])


def _mean(
    cells: Sequence[Cell],
    side: str,
    value: Callable[[Validation], float | None],
    worst: Callable[[Iterable[float]], float],
) -> str:
    found = [value(getattr(each, side)) for each in cells]
    numbers = [each for each in found if each is not None]
    return f"{statistics.mean(numbers) + 0.0:.2f} ({worst(numbers) + 0.0:.2f})" if numbers else "-"
