"""`python -m tools.kill_compiles`: compiles of a tiny model that are killed, and what is left of each.

For every kill: the second and the stage, what was at the output and beside it, and whether the next run made
a complete bundle and left nothing else. Exits with 1 if anything is not as it should be.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from tests.support.forked import forked
from tests.support.kills import NOTHING, Killer, Row


@click.command("tools.kill_compiles", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--kills", type=click.IntRange(min=1), default=20, show_default=True, help="How many.")
@click.option("--seed", type=int, help="Of the moments.  [default: a random one]")
@click.option("--model", type=click.Path(exists=True, path_type=Path), help="[default: one is made]")
@click.option("--data", type=click.Path(exists=True, path_type=Path), help="[default: some is made]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, a row for each kill.")
def kill_command(kills: int, seed: int | None, model: Path | None, data: Path | None, as_json: bool) -> None:
    """Kills compiles at random moments."""
    chosen = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    rows: list[Row] = []
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bertc-kills-")))
        model, data = _inputs(work, model, data)
        click.echo(f"seed {chosen}", err=True)
        if not as_json:
            click.echo(line("second", "stage", "command", "at the output", "beside it", "the next run"))
        for row in Killer(model, data, work).kill(kills, random.Random(chosen)):
            rows.append(row)
            if not as_json:
                click.echo(described(row))
    if as_json:
        click.echo(json.dumps({"seed": chosen, "kills": [row.to_json() for row in rows]}, indent=1))
    sys.exit(0 if all(row.right for row in rows) else 1)


def _inputs(work: Path, model: Path | None, data: Path | None) -> tuple[Path, Path]:
    """What is compiled; made in a child, which leaves no threads here."""
    found = model or work / "made" / "tiny" / "model.onnx", data or work / "made" / "texts.jsonl"

    def make(_: int) -> int:
        from tests.support.compiling import export_onnx
        from tests.support.data import write_task_data
        from tests.support.models import make_checkpoint

        (work / "made").mkdir()
        checkpoint = make_checkpoint(work / "made" / "checkpoint", "bert", "text-classification", layers=1)
        export_onnx(checkpoint, found[0].parent)
        written = write_task_data(work / "made", "text-classification", count=24, seed=0, suffix="jsonl")
        written.rename(work / "made" / "texts.jsonl")
        return 0

    if (model is None or data is None) and forked(make).wait() != 0:
        raise click.ClickException("no model could be made")
    return found


def described(row: Row) -> str:
    """The row of a table."""
    there = row.output if row.debug == NOTHING else f"{row.output}, debug {row.debug}"
    beside = " ".join((*row.siblings, *row.temporary)) or "-"
    return line(f"{row.seconds:.3f}", row.stage, row.command, there, beside, row.again or "succeeded")


def line(*cells: str) -> str:
    widths = (8, 34, 36, 16, 38, 0)
    return " ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip()


if __name__ == "__main__":
    # Before what reads it is imported.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    kill_command()
