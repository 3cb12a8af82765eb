"""`python -m tools.arm_layers`: what the runtimes compute on another CPU, beside the exact answer."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from compiler.cli.console import console_progress
from compiler.cli.host import require_host
from compiler.progress import Clock
from compiler.reference import ReferenceBackend
from targets.cli_errors import main_guard
from targets.detect import machine
from targets.errors import UsageError
from tools.ablation import command_of
from tools.arm.layers import layer_subjects
from tools.arm.models import FORMS, INSIDE, Checkpoint
from tools.arm.places import place_table, places, with_places
from tools.arm.report import Answers, Exact, document, kernel_lists, layer_tables, model_table
from tools.arm.subject import HOST, Subject, run_jobs, write_jobs
from tools.bench_report import environment

_PATH = click.Path(path_type=Path)


@click.command("tools.arm_layers", context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--guest",
    "guests",
    multiple=True,
    metavar="NAME=COMMAND",
    help="A CPU, and the command that starts a Python on it which has numpy and the runtimes. Repeatable.",
)
@click.option("--host/--no-host", default=True, help="Whether to run on this machine too.  [default: host]")
@click.option(
    "--model", metavar="MODEL", help="A classifier, run in every form; single layers only if left out."
)
@click.option("--calibration-data", type=_PATH, metavar="FILE", help="Text to calibrate it on.")
@click.option("--eval-data", type=_PATH, metavar="FILE", help="Text to run it on.")
@click.option("--each-layer", is_flag=True, help="Look into the model's layers, in one form, instead.")
@click.option("--samples", type=click.IntRange(min=8), default=200, show_default=True, help="Texts to run.")
@click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write everything measured here.")
def arm_layers_command(
    guests: Sequence[str],
    host: bool,
    model: str | None,
    calibration_data: Path | None,
    eval_data: Path | None,
    each_layer: bool,
    samples: int,
    json_file: Path | None,
) -> None:
    """Run single layers, or a model in several forms, here and on other CPUs, beside their exact answers."""
    require_host()
    cpus = {**({HOST: None} if host else {}), **dict(map(_guest, guests))}
    with console_progress(quiet=False) as progress:
        clock = Clock(progress)
        if model is None:
            subjects, floats = list(layer_subjects()), None
        elif calibration_data is None or eval_data is None:
            raise UsageError("--model needs texts", "give --calibration-data and --eval-data")
        else:
            checkpoint = Checkpoint(model, calibration_data, eval_data, samples, clock)
            subjects, floats = list(_forms(checkpoint, each_layer=each_layer)), _floats(checkpoint)
        exact, answers = _run(subjects, cpus, clock)
    if each_layer:
        click.echo(_each_layer(subjects[0], answers))
        return
    click.echo(_text(subjects, exact, floats, answers))
    if json_file is not None:
        where = environment(machine(), command_of(sys.argv[1:], "tools.arm_layers"))
        found = {**where, "results": document(subjects, exact, floats, answers)}
        json_file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def _forms(checkpoint: Checkpoint, *, each_layer: bool) -> Iterator[Subject]:
    if each_layer:
        yield from map(with_places, checkpoint.subjects([INSIDE]))
    else:
        yield from checkpoint.subjects([each.name for each in FORMS])


def _each_layer(subject: Subject, answers: Answers) -> str:
    found = list(places(subject, {cpu: by_key[subject.key] for cpu, by_key in answers.items()}))
    return f"{subject.row}:\n\n{place_table(found)}"


def _guest(option: str) -> tuple[str, str]:
    name, equals, command = option.partition("=")
    if not equals or not name or not command.strip() or name == HOST:
        raise UsageError(f"--guest {option!r} has no name or no command", 'give --guest "cortex-a76=COMMAND"')
    return name, command


def _run(
    subjects: Sequence[Subject], cpus: dict[str, str | None], clock: Clock
) -> tuple[Exact, dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="bertc-arm-") as place:
        folder = Path(place)
        with clock.stage("lowering"):
            write_jobs(subjects, folder)
        with clock.stage("computing exactly"):
            exact = {each.key: each.exact() for each in subjects}
        answers = {}
        for name, python in cpus.items():
            with clock.stage(f"running on {name}"):
                answers[name] = run_jobs(folder, python)
    return exact, answers


def _floats(checkpoint: Checkpoint) -> NDArray[Any]:
    backend = ReferenceBackend(checkpoint.graph, threads=1)
    runs = [backend.run({name: each[name] for name in backend.input_names}) for each in checkpoint.feeds]
    return np.concatenate([next(iter(run.values())) for run in runs])


def _text(subjects: Sequence[Subject], exact: Exact, floats: NDArray[Any] | None, answers: Answers) -> str:
    if floats is None:
        return layer_tables(subjects, exact, answers)
    return f"{model_table(subjects, exact, floats, answers)}\n\n{kernel_lists(subjects, answers)}"


if __name__ == "__main__":
    sys.exit(main_guard(arm_layers_command, prog_name="tools.arm_layers"))
