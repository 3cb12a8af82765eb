"""`python -m tools.prune_study`: pruning at several budgets, beside simpler ways to prune."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click
import onnx_ir as ir

from calibration.data import open_dataset
from calibration.sampler import sample
from compiler.build import LOWERINGS, open_artifact
from compiler.cli.console import console_progress
from compiler.cli.host import require_host
from compiler.latency import fitting_shapes, full_feeds, interleave, median_ms, speedup
from compiler.lower.artifact import Artifact
from compiler.options import DEFAULT_PRUNE_SAMPLES
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.progress import Clock
from compiler.prune.cost import Flops
from compiler.prune.directions import answers_of
from compiler.prune.options import PruneOptions
from compiler.prune.prune import Pruned, Pruner
from compiler.quantize.options import QuantizeOptions
from compiler.quantize.quantizer import quantize_static
from compiler.reference import ReferenceBackend
from compiler.sessions import open_session
from compiler.texts import items_of, text_feeds
from compiler.validate import Predictions, Validation, make_evaluator
from targets.cli_errors import main_guard
from targets.detect import machine
from targets.errors import UsageError
from targets.registry import get_target
from targets.runtime.backends.base import Backend
from tools.ablation import command_of, seeds_of
from tools.bench_report import environment
from tools.measure import load
from tools.prune_report import Cell, Found, Timing, page

LENGTH: Final = 128
CALIBRATION: Final = 300
METHOD: Final = "bertc"
SHAPES: Final = ((1, 32), (1, 128), (8, 128))
_PATH: Final = click.Path(path_type=Path)

METHODS: Final[Mapping[str, PruneOptions]] = {
    METHOD: PruneOptions(),
    "errors in the stream, not in the answers": PruneOptions(metric=False),
    "refit of what was cut alone": PruneOptions(refit="readers"),
    "uniform levels": PruneOptions(allocation="uniform"),
    "OBS without drift correction": PruneOptions(refit="none"),
    "OBS, stream errors, no drift correction": PruneOptions(metric=False, refit="none"),
    "Wanda with ridge": PruneOptions(select="wanda", metric=False, refit="none"),
    "magnitude": PruneOptions(select="magnitude", metric=False, refit="none"),
}


@click.command("tools.prune_study", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", required=True, metavar="MODEL", help="The checkpoint.")
@click.option("--calibration-data", required=True, type=_PATH, metavar="FILE", help="Text to prune by.")
@click.option("--eval-data", required=True, type=_PATH, metavar="FILE", help="Text to evaluate on.")
@click.option("--samples", type=click.IntRange(min=8), help="Evaluation texts drawn.  [default: all]")
@click.option("--prune-samples", type=click.IntRange(min=8), default=DEFAULT_PRUNE_SAMPLES, show_default=True)
@click.option("--budgets", default="1.25,1.5,2", show_default=True, help="How many times fewer FLOPs.")
@click.option("--seeds", default="0,1,2", show_default=True, metavar="N,...", help="Of the pruning texts.")
@click.option("--only", is_flag=True, help=f"{METHOD} alone, none of the simpler ways.")
@click.option("--runtime", type=click.Choice(sorted(LOWERINGS)), default="onnxruntime", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Of every run.")
@click.option(
    "--turns", type=click.IntRange(min=0), default=40, show_default=True, help="Of the timing; 0 for none."
)
@click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write everything measured here.")
@click.option("--docs", type=_PATH, metavar="FILE", help="Write the page of the documentation here.")
def study_command(
    model: str,
    json_file: Path | None,
    docs: Path | None,
    seeds: str,
    budgets: str,
    only: bool,
    **options: Any,
) -> None:
    """Prune with every method, seed and budget, evaluate each in FP32, and bertc's in INT8 and in time."""
    require_host()
    plan = Plan(seeds_of(seeds), budgets_of(budgets), {METHOD: METHODS[METHOD]} if only else METHODS)
    with console_progress(quiet=False) as progress:
        study = Study(model, Clock(progress), **options)
        cells = tuple(study.cells(plan))
        timings = study.timings(plan.budgets)
    where = environment(machine(), command_of(sys.argv[1:], "tools.prune_study"))
    settings = {
        "model": Path(model).name, "texts": study.texts, "metric": study.metric, "seeds": list(plan.seeds),
        "prune_samples": options["prune_samples"], "runtime": options["runtime"],
    }  # fmt: skip
    found = Found(where, settings, study.baseline, cells, timings)
    click.echo(found.tables())
    if json_file is not None:
        json_file.write_text(found.to_json(), encoding="utf-8")
    if docs is not None:
        docs.write_text(page(found), encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to go through."""

    seeds: tuple[int, ...]
    budgets: tuple[float, ...]
    methods: Mapping[str, PruneOptions]


class Study:
    """One checkpoint, its FP32 answers, and what pruning it in different ways makes of them."""

    def __init__(
        self,
        model: str,
        clock: Clock,
        *,
        calibration_data: Path,
        eval_data: Path,
        samples: int | None,
        prune_samples: int,
        runtime: str,
        threads: int,
        turns: int,
    ) -> None:
        self._clock, self._threads, self._turns, self._runtime = clock, threads, turns, runtime
        self._count = prune_samples
        self._scheme = get_target("x86-64-vnni").runtime(runtime).scheme
        with clock.stage("tracing"):
            loaded = load(model)
            self._checkpoint, self._graph, self._encoder = loaded.checkpoint, loaded.model, loaded.encoder
            PassManager(encoder_passes(fuse_qkv=False)).run(self._graph)
        task, config = self._checkpoint.task, self._checkpoint.task_config
        self._data = open_dataset(calibration_data, task)
        self._evaluator = make_evaluator(
            open_dataset(eval_data, task), task, config, self._encoder, limit=samples
        )
        with clock.stage("evaluating FP32"):
            self._floats = self._answers(ReferenceBackend(self._graph, threads=threads))
        self.metric, self.texts = self._evaluator.metric, self._evaluator.n
        self.baseline = self._validation(self._floats).baseline
        self._artifacts: dict[float, Artifact] = {}

    def cells(self, plan: Plan) -> Iterator[Cell]:
        """Every seed, method and budget."""
        answers = answers_of(self._checkpoint.task, self._checkpoint.task_config.problem_type)
        for seed in plan.seeds:
            feeds, calibration = self._feeds(self._count, seed), self._feeds(CALIBRATION, seed)
            base = replace(PruneOptions(), threads=self._threads, seed=seed)
            pruner = Pruner(self._graph, feeds, answers, base)
            with self._clock.stage(f"weighing with seed {seed}", pruner.steps) as advance:
                begin = time.perf_counter()
                pruner.weigh(advance)
                weighed = time.perf_counter() - begin
            if 1.0 not in self._artifacts:
                self._artifacts[1.0] = self._artifact(self._graph, calibration)
            for name, options in plan.methods.items():
                method = pruner.like(replace(options, threads=self._threads, seed=seed))
                with self._clock.stage(f"{name}, seed {seed}", len(plan.budgets)) as advance:
                    for budget in plan.budgets:
                        yield self._cell(method, name, seed, budget, calibration, weighed)
                        advance(1)

    def timings(self, budgets: Sequence[float]) -> tuple[Timing, ...]:
        """The first seed's INT8 artifacts against the dense one, in turns."""
        if not self._turns:
            return ()
        artifacts = {str(each): self._artifacts[each] for each in (1.0, *budgets)}
        backends = {name: open_artifact(each, threads=self._threads) for name, each in artifacts.items()}
        found = []
        for batch, tokens in fitting_shapes(self._encoder.max_length, SHAPES):
            feeds = full_feeds(self._encoder.vocab_size, batch, tokens)
            with self._clock.stage(f"timing {batch}x{tokens}", self._turns) as advance:
                times = interleave(backends, feeds, turns=self._turns, advance=advance)
            for budget in budgets:
                own = times[str(budget)]
                ratio = speedup(times["1.0"], own)
                found.append(Timing(budget, batch, tokens, median_ms(times["1.0"]), median_ms(own), ratio))
        return tuple(found)

    def _cell(
        self, method: Pruner, name: str, seed: int, budget: float, calibration: Any, weighed: float
    ) -> Cell:
        begin = time.perf_counter()
        pruned = method.cut(method.allocate(Flops(LENGTH), 1.0 / budget), LENGTH)
        seconds = weighed + time.perf_counter() - begin
        floats = self._validation(self._answers(ReferenceBackend(pruned.model, threads=self._threads)))
        int8 = self._in_int8(pruned, budget, calibration) if name == METHOD else None
        kept = {each.name: each.kept for each in pruned.modules}
        return Cell(name, seed, budget, pruned.flops_kept, floats, int8, seconds, kept)

    def _in_int8(self, pruned: Pruned, budget: float, calibration: Any) -> Validation:
        artifact = self._artifact(pruned.model, calibration)
        self._artifacts.setdefault(budget, artifact)
        return self._validation(self._answers(open_artifact(artifact, threads=self._threads)))

    def _artifact(self, model: ir.Model, calibration: Any) -> Artifact:
        options = QuantizeOptions(threads=self._threads)
        quantized = quantize_static(model, calibration, self._scheme, options)
        return LOWERINGS[self._runtime](quantized.model, quantized.plan, "int8")

    def _feeds(self, samples: int, seed: int) -> Any:
        task = self._checkpoint.task
        items = items_of(sample(self._data, samples, seed), task)
        return text_feeds(items, self._encoder, windows=task == "question-answering").feeds

    def _answers(self, backend: Backend) -> Predictions:
        checkpoint = self._checkpoint
        with open_session(backend, self._encoder, checkpoint.task, checkpoint.task_config) as session:
            return self._evaluator.predict(session)

    def _validation(self, answers: Predictions) -> Validation:
        return self._evaluator.compare(self._floats, answers, max_drop=1.0)


def budgets_of(text: str) -> tuple[float, ...]:
    """Ratios of FLOPs, ascending.

    Raises:
        UsageError: one is no number above 1.
    """
    try:
        found = sorted({float(each) for each in text.split(",")})
    except ValueError as error:
        raise UsageError(f"--budgets {text!r} is no list of numbers", "give --budgets 1.25,1.5,2") from error
    if not 1.0 < found[0] <= found[-1] < 1e6:
        raise UsageError(f"--budgets {text!r}: each must be above 1", "give --budgets 1.25,1.5,2")
    return tuple(found)


if __name__ == "__main__":
    sys.exit(main_guard(study_command, prog_name="tools.prune_study"))
