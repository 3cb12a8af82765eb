"""`python -m tools.ablation`: what each technique of static INT8 quantization brings."""

from __future__ import annotations

import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import click

from calibration.data import open_dataset
from calibration.ranges import METHODS
from calibration.sampler import sample
from compiler.build import LOWERINGS, open_artifact
from compiler.cli.console import console_progress
from compiler.cli.host import require_host
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.progress import Clock
from compiler.quantize.options import PLAIN, QuantizeOptions
from compiler.quantize.quantizer import quantize_static
from compiler.reference import ReferenceBackend
from compiler.sessions import open_session
from compiler.texts import items_of, text_feeds
from compiler.validate import Predictions, make_evaluator
from targets.cli_errors import main_guard
from targets.detect import machine
from targets.errors import UsageError
from targets.registry import get_target
from targets.runtime.backends.base import Backend
from targets.spec import QuantScheme
from tools.ablation_cost import Cost, Feeds, measure_cost
from tools.ablation_report import Found, Result, page
from tools.bench_report import environment
from tools.measure import load, mean_squared_error
from tools.peer_report import Score

EVERYTHING: Final = QuantizeOptions()
COST_SAMPLES: Final = (300, 3000)
_PATH: Final = click.Path(path_type=Path)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to quantize.

    Attributes:
        name: in the table.
        options: the techniques.
        qmax: largest weight integer; 64 is half range, for CPUs whose 16-bit sums saturate.
    """

    name: str
    options: QuantizeOptions
    qmax: Literal[127, 64] = 127


VARIANTS: Final = (
    Variant("everything", EVERYTHING),
    Variant("no shift", replace(EVERYTHING, shift=False)),
    Variant("no smoothing", replace(EVERYTHING, smooth=False, shift=False)),
    Variant("no outlier splitting", replace(EVERYTHING, split=False)),
    Variant("nearest rounding, no GPTQ", replace(EVERYTHING, rounding="nearest")),
    Variant("no bias correction", replace(EVERYTHING, bias_correction=False)),
    Variant("layers one by one, not in sequence", replace(EVERYTHING, sequential=False)),
    *(Variant(f"ranges: {method}", replace(EVERYTHING, ranges=method)) for method in METHODS),
    Variant("nothing", PLAIN),
    Variant("half range, everything", EVERYTHING, 64),
    Variant("half range, nothing", PLAIN, 64),
)


@click.command("tools.ablation", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", required=True, metavar="MODEL", help="The checkpoint.")
@click.option("--calibration-data", required=True, type=_PATH, metavar="FILE", help="Text to calibrate on.")
@click.option("--eval-data", required=True, type=_PATH, metavar="FILE", help="Text to evaluate on.")
@click.option(
    "--calibration-samples",
    type=click.IntRange(min=8),
    default=300,
    show_default=True,
    help="Texts drawn for each calibration.",
)
@click.option("--seeds", default="0,1,2", show_default=True, metavar="N,...", help="Of the calibrations.")
@click.option("--samples", type=click.IntRange(min=8), help="Evaluation texts drawn.  [default: all]")
@click.option(
    "--runtime",
    type=click.Choice(sorted(LOWERINGS)),
    default="onnxruntime",
    show_default=True,
    help="Whose quantization scheme, and which runtime evaluates.",
)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Of every run.")
@click.option("--cost", is_flag=True, help=f"Also measure memory and time with {COST_SAMPLES} samples.")
@click.option("--cost-only", is_flag=True, help="Measure memory and time, and leave nothing out.")
@click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write everything measured here.")
@click.option("--docs", type=_PATH, metavar="FILE", help="Write the page of the documentation here.")
def ablation_command(
    model: str,
    calibration_data: Path,
    eval_data: Path,
    calibration_samples: int,
    seeds: str,
    samples: int | None,
    runtime: str,
    threads: int,
    cost: bool,
    cost_only: bool,
    json_file: Path | None,
    docs: Path | None,
) -> None:
    """Quantize with every technique, with each one left out and with none, and measure each."""
    if cost_only and docs is not None:
        raise UsageError("the page needs the ablation", "give --cost in place of --cost-only")
    require_host()
    drawn = seeds_of(seeds)
    settings: dict[str, Any] = {
        "model": Path(model).name,
        "runtime": runtime,
        "seeds": list(drawn),
        "calibration_samples": calibration_samples,
        "threads": threads,
    }
    with console_progress(quiet=False) as progress:
        study = Study(model, calibration_data, eval_data, samples, runtime, threads, Clock(progress))
        results = () if cost_only else study.results(drawn, calibration_samples)
        costs = study.costs(COST_SAMPLES) if cost or cost_only else ()
    where = environment(machine(), command_of(sys.argv[1:]))
    found = Found(where, {**settings, "texts": study.texts}, study.baseline, results, costs)
    click.echo(found.tables())
    if json_file is not None:
        json_file.write_text(found.to_json(), encoding="utf-8")
    if docs is not None:
        docs.write_text(page(found, study.metric), encoding="utf-8")


class Study:
    """One checkpoint, its FP32 answers, and what quantizing it in different ways makes of them."""

    def __init__(
        self,
        model: str,
        calibration: Path,
        evaluation: Path,
        samples: int | None,
        runtime: str,
        threads: int,
        clock: Clock,
    ) -> None:
        self._calibration, self._threads, self._clock = calibration, threads, clock
        self._runtime = runtime
        self._scheme: QuantScheme = get_target("x86-64-vnni").runtime(runtime).scheme
        with clock.stage("tracing"):
            loaded = load(model)
            self._checkpoint, self._graph, self._encoder = loaded.checkpoint, loaded.model, loaded.encoder
            PassManager(encoder_passes(fuse_qkv=False)).run(self._graph)
        task, config = self._checkpoint.task, self._checkpoint.task_config
        self._evaluator = make_evaluator(
            open_dataset(evaluation, task), task, config, self._encoder, limit=samples
        )
        with clock.stage("evaluating FP32"):
            self._floats = self._answers(ReferenceBackend(self._graph, threads=threads))
        self.metric, self.texts = self._evaluator.metric, self._evaluator.n
        self.baseline = self._evaluator.compare(self._floats, self._floats, max_drop=1.0).baseline

    def results(self, seeds: Sequence[int], samples: int) -> tuple[Result, ...]:
        """Every variant with every seed."""
        found = {each.name: Result(each.name, {}, {}) for each in VARIANTS}
        for seed in seeds:
            feeds = self._feeds(samples, seed)
            with self._clock.stage(f"calibrating with seed {seed}", len(VARIANTS)) as advance:
                for variant in VARIANTS:
                    score, seconds = self._measure(variant, feeds)
                    known = found[variant.name]
                    found[variant.name] = Result(
                        variant.name, {**known.scores, seed: score}, {**known.seconds, seed: seconds}
                    )
                    advance(1)
        return tuple(found.values())

    def costs(self, counts: Sequence[int]) -> tuple[Cost, ...]:
        """Memory and time of quantizing with these numbers of samples, as many as there are."""
        found = []
        for count in counts:
            feeds = self._feeds(count, 0)
            with (
                self._clock.stage(f"quantizing with {count} samples"),
                tempfile.TemporaryDirectory(prefix="bertc-cost-") as folder,
            ):
                found.append(
                    measure_cost(self._graph, feeds, self._scheme, Path(folder), threads=self._threads)
                )
        return tuple(found)

    def _feeds(self, samples: int, seed: int) -> Feeds:
        task = self._checkpoint.task
        items = items_of(sample(open_dataset(self._calibration, task), samples, seed), task)
        return text_feeds(items, self._encoder, windows=task == "question-answering").feeds

    def _measure(self, variant: Variant, feeds: Feeds) -> tuple[Score, float]:
        scheme = replace(self._scheme, weight_qmax=variant.qmax)
        options = replace(variant.options, threads=self._threads)
        begin = time.perf_counter()
        quantized = quantize_static(self._graph, feeds, scheme, options)
        seconds = time.perf_counter() - begin
        artifact = LOWERINGS[self._runtime](quantized.model, quantized.plan, "int8")
        answers = self._answers(open_artifact(artifact, threads=self._threads))
        validation = self._evaluator.compare(self._floats, answers, max_drop=1.0)
        return Score.of(validation, mean_squared_error(self._floats, answers)), seconds

    def _answers(self, backend: Backend) -> Predictions:
        checkpoint = self._checkpoint
        with open_session(backend, self._encoder, checkpoint.task, checkpoint.task_config) as session:
            return self._evaluator.predict(session)


def seeds_of(text: str) -> tuple[int, ...]:
    """The numbers of a list, each once.

    Raises:
        UsageError: it is none, or one is negative.
    """
    parts = [each.strip() for each in text.split(",")]
    if not all(each.isdecimal() for each in parts):
        raise UsageError(f"--seeds {text!r} is no list of numbers", "give --seeds 0,1,2")
    return tuple(dict.fromkeys(map(int, parts)))


def command_of(arguments: Sequence[str], tool: str = "tools.ablation") -> str:
    """The command as one can repeat it elsewhere: of paths, what they are called."""
    named = []
    for argument in arguments:
        key, equals, value = argument.rpartition("=")
        named.append(f"{key}{equals}{Path(value).name}" if "/" in value else argument)
    return shlex.join(["python", "-m", tool, *named])


if __name__ == "__main__":
    sys.exit(main_guard(ablation_command, prog_name="tools.ablation"))
