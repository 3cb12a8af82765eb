"""`python -m tools.compare_speed`: latency, throughput and start of bundles and peers."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from compiler.cli.console import console_progress
from compiler.cli.host import require_host
from compiler.progress import Clock
from targets.cli_errors import main_guard
from targets.detect import machine
from tools.bench_report import environment
from tools.compare_peers import command_line, interpreters
from tools.contestants import Source
from tools.speed.base import write_base
from tools.speed.page import page, ratios, to_json
from tools.speed.run import Plan, Speed, SpeedRun

_PATH = click.Path(path_type=Path)
_BASE_SHAPES = ((1, 128),)
_BASE_SAMPLES = 64


@click.command("tools.compare_speed", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", required=True, metavar="MODEL", help="The checkpoint, a local folder.")
@click.option("--calibration-data", required=True, type=_PATH, metavar="FILE", help="Text to calibrate on.")
@click.option("--eval-data", required=True, type=_PATH, metavar="FILE", help="Text to run.")
@click.option("--calibration-samples", type=click.IntRange(min=8), default=300, show_default=True)
@click.option(
    "--peer-python",
    "pythons",
    multiple=True,
    metavar="NAME=PYTHON",
    help="The interpreter that has a peer's packages.  [default: this one]",
)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True, help="Of every run.")
@click.option("--rounds", type=click.IntRange(min=5), default=20, show_default=True, help="Of each shape.")
@click.option(
    "--passes", type=click.IntRange(min=1), default=3, show_default=True, help="Over the texts, timed."
)
@click.option("--tune", "tune_seconds", type=float, default=0.0, help="Seconds of `bertc tune` before.")
@click.option("--base", is_flag=True, help="Also a checkpoint of BERT-base's shape, with random weights.")
@click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write everything measured here.")
@click.option("--docs", type=_PATH, metavar="FILE", help="Write the page of the documentation here.")
def compare_command(
    model: str,
    calibration_data: Path,
    eval_data: Path,
    calibration_samples: int,
    pythons: Sequence[str],
    threads: int,
    rounds: int,
    passes: int,
    tune_seconds: float,
    base: bool,
    json_file: Path | None,
    docs: Path | None,
) -> None:
    """Time bertc's bundles beside onnxruntime's dynamic INT8 and NNCF's INT8 on OpenVINO."""
    require_host()
    plan = Plan(rounds, passes, tune_seconds, interpreters(pythons), sys.executable)
    source = Source(model, calibration_data, eval_data, calibration_samples, threads)
    with (
        tempfile.TemporaryDirectory(prefix="bertc-speed-") as temporary,
        console_progress(quiet=False) as progress,
    ):
        folder, clock = Path(temporary), Clock(progress)
        speeds: dict[str, Speed] = {}
        speeds[Path(model).name] = SpeedRun(source, plan, folder / "main", clock).run()
        if base:
            random = write_base(model, folder / "bert-base-shape")
            other = replace(source, model=str(random), samples=min(_BASE_SAMPLES, calibration_samples))
            untuned = replace(plan, tune_seconds=0.0)
            run = SpeedRun(other, untuned, folder / "base", clock)
            speeds["BERT-base's shape"] = run.shapes_only(_BASE_SHAPES)
    command = command_line("tools.compare_speed", sys.argv[1:])
    where = environment(machine(), command)
    head = _summary(where, threads, rounds)
    click.echo(f"{head}\n\n{ratios(speeds)}")
    if json_file is not None:
        json_file.write_text(to_json(speeds, where), encoding="utf-8")
    if docs is not None:
        docs.write_text(page(speeds, head, command), encoding="utf-8")


def _summary(where: dict[str, object], threads: int, rounds: int) -> str:
    here, versions = where["machine"], where["versions"]
    assert isinstance(here, dict)
    assert isinstance(versions, dict)
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return (
        f"{here['cpu']}, {here['cores']} cores, {here['memory_mb']} MiB, {here['os']}; "
        f"Python {here['python']}, {listed}\n{where['date']}\n"
        f"{threads} threads, medians of {rounds} interleaved rounds of blocks"
    )


if __name__ == "__main__":
    sys.exit(main_guard(compare_command, prog_name="tools.compare_speed"))
