"""What `tools.ablation` found: tables, a JSON document and a page of the documentation."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from compiler.quantize.streams import MOST_TOKENS
from tools.ablation_cost import Cost
from tools.bench_report import table
from tools.peer_report import Score


@dataclass(frozen=True, slots=True)
class Result:
    """One variant.

    Attributes:
        name: of the variant.
        scores: against FP32, by calibration seed.
        seconds: to quantize, by calibration seed.
    """

    name: str
    scores: Mapping[int, Score]
    seconds: Mapping[int, float]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        scores = {str(seed): asdict(each) for seed, each in self.scores.items()}
        seconds = {str(seed): round(each, 2) for seed, each in self.seconds.items()}
        return {"name": self.name, "scores": scores, "seconds": seconds}


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that one run measured.

    Attributes:
        where: the command, the machine and the versions.
        settings: model, runtime, seeds, numbers of texts, threads.
        baseline: of the metric, FP32.
        results: in the order of the table.
        costs: by number of samples, where they were asked for.
    """

    where: Mapping[str, Any]
    settings: Mapping[str, Any]
    baseline: float | None
    results: tuple[Result, ...]
    costs: tuple[Cost, ...] = ()

    def to_json(self) -> str:
        """The document, indented."""
        document = {**self.where, **self.settings, "baseline": self.baseline}
        document["results"] = [each.to_json() for each in self.results]
        document["costs"] = [asdict(each) for each in self.costs]
        return json.dumps(document, indent=2) + "\n"

    def tables(self) -> str:
        """Every table that has rows, in Markdown."""
        parts = [results_table(self.results) if self.results else "", cost_table(self.costs)]
        return "\n\n".join(each for each in parts if each)


def results_table(results: Sequence[Result]) -> str:
    """A line for each variant: means over the seeds, the worst seed in parentheses."""
    head = ["quantization", "drop, points", "agreement, %", "MSE", "quantized in, s"]
    return table([head, *(_cells(each) for each in results)])


def _cells(result: Result) -> list[str]:
    scores = list(result.scores.values())
    return [
        result.name,
        _mean_worst([each.drop for each in scores], max, 100, ".2f"),
        _mean_worst([each.agreement for each in scores], min, 100, ".2f"),
        _mean_worst([each.mse for each in scores], max, 1, ".2e"),
        f"{statistics.fmean(result.seconds.values()):.1f}",
    ]


def _mean_worst(
    values: Sequence[float | None], worst: Callable[[Sequence[float]], float], factor: float, form: str
) -> str:
    known = [factor * each for each in values if each is not None]
    if not known:
        return ""
    mean = format(statistics.fmean(known) + 0.0, form)
    return mean if len(known) == 1 else f"{mean} ({format(worst(known) + 0.0, form)})"


def cost_table(costs: Sequence[Cost]) -> str:
    """A line for each number of samples."""
    if not costs:
        return ""
    head = ["samples", "tokens", "feeds, MiB", "before, MiB", "peak, MiB", "seconds"]
    lines = [
        [
            str(each.texts),
            str(each.tokens),
            f"{each.feeds_mb:.1f}",
            f"{each.start_mb:.0f}",
            f"{each.peak_mb:.0f}",
            f"{each.seconds:.1f}",
        ]
        for each in costs
    ]
    return table([head, *lines])


_PAGE: Final = """\
# What each quantization technique brings

Made by the command below: {model}, static INT8 of every linear layer, calibrated on {samples} texts drawn
with seed{plural} {seeds}, lowered and run in {runtime} on {evaluated} evaluation texts.

    {command}

{cpu}, {cores} cores, {os}; Python {python}, {versions}; {threads} threads; {date}.

{tables}

Each line leaves out or replaces what it names; the rest is as in "everything". "nothing" is min-max
ranges, rounding to nearest, no smoothing, no splitting and no bias correction. A drop is in points of
{metric} against FP32's {baseline}; below 0 it is a gain. MSE is the mean squared error of the outputs to
FP32's. Every number is the mean over the calibration seeds, with the worst of them in parentheses; one
evaluation text is {resolution:.2f} points.
"""
_COST: Final = """
## Memory and time

A process of its own quantizes with every technique on. "before" is its largest resident set with the
graph and the calibration feeds loaded, "peak" the largest until it is done. All texts give their ranges;
layers then learn from at most {most} tokens, so that memory stops growing where that is reached.

{costs}
"""


def page(found: Found, metric: str) -> str:
    """The page of the documentation."""
    where, settings = found.where, found.settings
    here, seeds, texts = where["machine"], settings["seeds"], settings["texts"]
    text = _PAGE.format(
        model=settings["model"],
        samples=settings["calibration_samples"],
        plural="" if len(seeds) == 1 else "s",
        seeds=", ".join(map(str, seeds)),
        runtime=settings["runtime"],
        evaluated=texts,
        command=where["command"],
        cpu=here["cpu"],
        cores=here["cores"],
        os=here["os"],
        python=here["python"],
        versions=", ".join(f"{name} {version}" for name, version in where["versions"].items()),
        threads=settings["threads"],
        date=where["date"][:10],
        tables=results_table(found.results),
        metric=metric,
        baseline="" if found.baseline is None else f"{found.baseline:.4f}",
        resolution=100 / texts,
    )
    return text + (_COST.format(most=MOST_TOKENS, costs=cost_table(found.costs)) if found.costs else "")
