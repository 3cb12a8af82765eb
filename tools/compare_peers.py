"""`python -m tools.compare_peers`: other quantizers and bertc on one checkpoint, measured in one process."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from compiler.cli.console import console_progress
from compiler.cli.host import require_host
from compiler.progress import Clock
from targets.cli_errors import main_guard
from targets.detect import machine
from targets.errors import UsageError
from tools.bench_report import environment, summary
from tools.contestants import Source
from tools.peer_report import page, tables
from tools.peers_run import PeersRun, Plan
from tools.recipes import KEYS

_PATH = click.Path(path_type=Path)


@click.command("tools.compare_peers", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", required=True, metavar="MODEL", help="The checkpoint.")
@click.option("--calibration-data", required=True, type=_PATH, metavar="FILE", help="Text to calibrate on.")
@click.option("--eval-data", required=True, type=_PATH, metavar="FILE", help="Text to evaluate on.")
@click.option(
    "--calibration-samples",
    type=click.IntRange(min=8),
    default=300,
    show_default=True,
    help="Texts drawn for every quantizer.",
)
@click.option(
    "--seeds",
    default="0",
    show_default=True,
    metavar="N,...",
    help="Repeat every calibration with these seeds; the first one's models are timed.",
)
@click.option(
    "--peer",
    "peers",
    multiple=True,
    type=click.Choice(KEYS),
    help="Only this one beside torch and bertc; may be given again.  [default: all]",
)
@click.option(
    "--peer-python",
    "pythons",
    multiple=True,
    metavar="NAME=PYTHON",
    help=f"The interpreter that has a peer's packages ({', '.join(KEYS)}).  [default: this one]",
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
    "--texts",
    type=click.IntRange(min=5),
    default=200,
    show_default=True,
    help="Texts that are timed one at a time.",
)
@click.option("--accuracy-only", is_flag=True, help="Time nothing.")
@click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write everything measured here.")
@click.option("--docs", type=_PATH, metavar="FILE", help="Write the page of the documentation here.")
def compare_command(
    model: str,
    calibration_data: Path,
    eval_data: Path,
    calibration_samples: int,
    seeds: str,
    peers: Sequence[str],
    pythons: Sequence[str],
    threads: int,
    rounds: int,
    texts: int,
    accuracy_only: bool,
    json_file: Path | None,
    docs: Path | None,
) -> None:
    """Compare torch, onnxruntime, OpenVINO, NNCF and optimum-intel with bertc's bundles."""
    if accuracy_only and docs is not None:
        raise UsageError("the page needs timings", "leave out --accuracy-only, or --docs")
    require_host()
    rounds = 0 if accuracy_only else rounds
    plan = Plan(_seeds(seeds), tuple(peers) or KEYS, interpreters(pythons), rounds, texts)
    source = Source(model, calibration_data, eval_data, calibration_samples, threads)
    with (
        tempfile.TemporaryDirectory(prefix="bertc-peers-") as temporary,
        console_progress(quiet=False) as progress,
    ):
        found = PeersRun(source, plan, Path(temporary), Clock(progress)).run()
    where = environment(machine(), command_line("tools.compare_peers", sys.argv[1:]))
    settings: dict[str, Any] = {
        "threads": threads,
        "rounds": rounds,
        "seeds": list(plan.seeds),
        "calibration_samples": calibration_samples,
    }
    head = summary(where, threads=threads, rounds=rounds, texts=found.rows[0].validation.n)
    click.echo(f"{head}\n\n{tables(found)}")
    if json_file is not None:
        json_file.write_text(found.to_json(where, settings), encoding="utf-8")
    if docs is not None:
        docs.write_text(page(found, where, settings, head), encoding="utf-8")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(dict.fromkeys(int(each) for each in text.split(",")))
    except ValueError as error:
        raise UsageError(f"--seeds {text!r} is no list of numbers", "give --seeds 0,1,2") from error
    if min(seeds) < 0:
        raise UsageError(f"--seeds {text!r} has a negative number", "give --seeds 0,1,2")
    return seeds


def interpreters(pairs: Sequence[str]) -> dict[str, str]:
    """The interpreters of NAME=PYTHON by name."""
    found = {}
    for pair in pairs:
        key, _, python = pair.partition("=")
        if key not in KEYS or not python:
            raise UsageError(
                f"--peer-python {pair!r} names no peer", f"give NAME=PYTHON of {', '.join(KEYS)}"
            )
        found[key] = python
    return found


def command_line(module: str, arguments: Sequence[str]) -> str:
    """The command as one can repeat it elsewhere: of paths, what they are called."""
    return shlex.join(["python", "-m", module, *map(_name, arguments)])


def _name(argument: str) -> str:
    key, equals, value = argument.rpartition("=")
    return f"{key}{equals}{Path(value).name}" if "/" in value else argument


if __name__ == "__main__":
    sys.exit(main_guard(compare_command, prog_name="tools.compare_peers"))
