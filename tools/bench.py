"""`python -m tools.bench`: accuracy, bytes and latency of a checkpoint and of its bundles, in one process."""

from __future__ import annotations

import json
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from compiler.cli.console import console_progress
from compiler.cli.host import require_host
from compiler.demo.model import find_demo_model
from compiler.demo.run import demo_texts, write_lines
from compiler.progress import Clock
from compiler.validate import Validation
from targets.cli_errors import main_guard
from targets.detect import machine
from targets.errors import UsageError
from tools.bench_report import Row, environment, markdown, summary
from tools.cold_start import cold_start
from tools.contestants import (
    BASELINE,
    Contestant,
    Source,
    backends,
    bundle_contestants,
    onnx_contestant,
    torch_contestants,
)
from tools.measure import Loaded, evaluator_of, load, predict, time_shapes


@click.command("tools.bench", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--model",
    metavar="MODEL",
    help="A checkpoint with --calibration-data and --eval-data.  [default: the demo's]",
)
@click.option(
    "--calibration-data", type=click.Path(path_type=Path), metavar="FILE", help="Text to calibrate on."
)
@click.option(
    "--calibration-samples",
    type=click.IntRange(min=8),
    default=300,
    show_default=True,
    help="Texts drawn from it.",
)
@click.option(
    "--eval-data",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Text to evaluate on, with or without labels.",
)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Of every run.")
@click.option(
    "--rounds",
    type=click.IntRange(min=5),
    default=30,
    show_default=True,
    help="How often each model is timed at each shape.",
)
@click.option(
    "--cold-start", is_flag=True, help="Time `bertc run` from the start of the process to the first answer."
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write everything measured here.",
)
def bench_command(
    model: str | None,
    calibration_data: Path | None,
    calibration_samples: int,
    eval_data: Path | None,
    threads: int,
    rounds: int,
    cold_start: bool,
    json_file: Path | None,
) -> None:
    """Compare a checkpoint in torch and onnxruntime with its compiled INT8 bundles."""
    require_host()
    with (
        tempfile.TemporaryDirectory(prefix="bertc-bench-") as temporary,
        console_progress(quiet=False) as progress,
    ):
        folder = Path(temporary)
        model, calibration, evaluation = _source(model, calibration_data, eval_data, folder)
        source = Source(model, calibration, evaluation, calibration_samples, threads)
        bench = _Bench(source, folder, Clock(progress))
        rows = bench.run(rounds=rounds, cold=cold_start)
    where = environment(machine(), shlex.join(["python", "-m", "tools.bench", *sys.argv[1:]]))
    click.echo(summary(where, threads=threads, rounds=rounds, texts=rows[0].validation.n))
    click.echo(markdown(rows))
    if json_file is not None:
        json_file.write_text(_document(rows, where, threads, rounds), encoding="utf-8")


def _source(
    model: str | None, calibration: Path | None, evaluation: Path | None, folder: Path
) -> tuple[str, Path, Path]:
    if model is None:
        if calibration is not None or evaluation is not None:
            raise UsageError("data was given without a checkpoint", "give --model too, or neither")
        texts = demo_texts()
        files = (folder / "calibration.txt", folder / "evaluation.txt")
        calibration, evaluation = (write_lines(file, lines) for file, lines in zip(files, texts, strict=True))
        return str(find_demo_model()), calibration, evaluation
    if calibration is None or evaluation is None:
        raise UsageError("a checkpoint was given without its data", "give --calibration-data and --eval-data")
    return model, calibration, evaluation


def _document(rows: Sequence[Row], where: dict[str, Any], threads: int, rounds: int) -> str:
    document = {**where, "threads": threads, "rounds": rounds, "rows": [row.to_json() for row in rows]}
    return json.dumps(document, indent=2) + "\n"


class _Bench:
    """One checkpoint's comparison."""

    def __init__(self, source: Source, folder: Path, clock: Clock) -> None:
        self._source = source
        self._folder = folder
        self._clock = clock

    def run(self, *, rounds: int, cold: bool) -> list[Row]:
        """Every model's row, torch first."""
        import torch

        source = self._source
        torch.set_num_threads(source.threads)
        compiled = bundle_contestants(source, self._folder, self._clock.progress)
        with self._clock.stage("loading the checkpoint"):
            loaded = load(source.model)
            contestants = torch_contestants(loaded.reference)
            contestants += [onnx_contestant(loaded.model, source.threads), *compiled]
        validations = self._validate(contestants, loaded)
        latencies = time_shapes(contestants, loaded.encoder, rounds, self._clock)
        starts = self._start(contestants) if cold else {}
        return [
            Row(name, each.model_bytes, validations[name], latencies[name], starts.get(name))
            for name, each in zip(backends(contestants), contestants, strict=True)
        ]

    def _validate(self, contestants: Sequence[Contestant], loaded: Loaded) -> dict[str, Validation]:
        evaluator = evaluator_of(self._source, loaded)
        found = {}
        with self._clock.stage("evaluating", len(contestants)) as advance:
            for each in contestants:
                found[each.name] = predict(each, loaded, evaluator)
                advance(1)
        baseline = found[BASELINE]
        return {name: evaluator.compare(baseline, each, max_drop=1.0) for name, each in found.items()}

    def _start(self, contestants: Sequence[Contestant]) -> dict[str, float]:
        bundles = [(each.name, each.bundle) for each in contestants if each.bundle is not None]
        found = {}
        with self._clock.stage("starting processes", len(bundles)) as advance:
            for name, path in bundles:
                found[name] = cold_start(path, self._source.threads)
                advance(1)
        return found


if __name__ == "__main__":
    sys.exit(main_guard(bench_command, prog_name="tools.bench"))
