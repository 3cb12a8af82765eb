"""`python -m tools.client_answers`: bundles in Hugging Face's clients, and their answers beside bertc's.

Every kind of model is compiled for both runtimes, tiny and with random weights. Each client loads a bundle's
folder as it is, in an environment of its own (`make clients`) and without a network. Ends with 1 where an
output is further from bertc's than 1e-5 though the client computes in the bundle's precision, where an answer
is another one, or where a client changed the folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from compiler.demo.model import MODEL_NAME, find_demo_model
from targets.bundle.reader import Bundle
from targets.errors import BertcError
from tools.clients.cases import CASES, RUNTIMES, Asked, ask_bertc, compile_quickly, hashes, make_tiny
from tools.clients.compare import Compared, clients_of, compare
from tools.clients.page import packages, page, tables

ASK = Path(__file__).resolve().parent / "clients" / "ask.py"
_PROBE = "import importlib.metadata as m; print(*(each.metadata['Name'] for each in m.distributions()))"


@dataclass(frozen=True, slots=True)
class Environment:
    """What one Python's clients answered.

    Attributes:
        versions: of its clients and runtimes.
        rows: one for each client and bundle.
    """

    versions: Mapping[str, str]
    rows: tuple[Compared, ...]


_FILE: Any = click.Path(path_type=Path)
_EXISTING: Any = click.Path(exists=True, path_type=Path)


@click.command("tools.client_answers", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--python", "pythons", multiple=True, required=True, type=_EXISTING, help="Of the clients.")
@click.option("--model", "models", multiple=True, type=_EXISTING, help="Another checkpoint, of texts.")
@click.option("--only", default="", help="Just the models with this in their name.")
@click.option("--json", "json_file", type=_FILE, help="Where to write the numbers.")
@click.option("--markdown", type=_FILE, help="Where to write the page of the documentation.")
def answers_command(
    pythons: Sequence[Path],
    models: Sequence[Path],
    only: str,
    json_file: Path | None,
    markdown: Path | None,
) -> None:
    """Compiles, asks every client of each --python, and compares; the demo's model too, if installed."""
    with tempfile.TemporaryDirectory(prefix="bertc-clients-") as place:
        asked = bundles(Path(place), models, only)
        found = [ask_clients(python, asked, Path(place)) for python in pythons]
        changed = [line for each in asked for line in changes(each)]
    for each in found:
        click.echo(f"{packages(each.versions)}\n\n{tables(each.rows)}\n")
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n", "utf-8")
    if markdown is not None:
        markdown.write_text(page([(each.versions, each.rows) for each in found]), "utf-8")
    wrong = [row for each in found for row in each.rows if row.wrong]
    lines = [f"{row.client} on {row.bundle}: {row.error or row.cell}" for row in wrong] + changed
    for line in lines:
        click.echo(f"error: {line}", err=True)
    if lines:
        raise click.exceptions.Exit(1)


def bundles(folder: Path, models: Sequence[Path], only: str) -> list[Asked]:
    """Compiles the cases, the models given and the demo's for both runtimes, and asks bertc."""
    sources = [(case.name, make_tiny(case, folder), case.items) for case in CASES if only in case.name]
    asked = []
    for runtime in RUNTIMES:
        for index, (name, model, items) in enumerate(sources):
            _say(f"{name} for {runtime}")
            output = folder / runtime / str(index)
            path = compile_quickly(model, model.with_suffix(".jsonl"), runtime, output)
            asked.append(ask_bertc(name, path, items))
        for index, model in enumerate((*models, *_demo_model())):
            name = MODEL_NAME if index == len(models) else model.name
            if only in name:
                _say(f"{name} for {runtime}")
                output = folder / runtime / f"model-{index}"
                asked.append(ask_bertc(name, compile_quickly(model, _texts(folder), runtime, output)))
    return asked


def ask_clients(python: Path, asked: Sequence[Asked], folder: Path) -> Environment:
    """Asks every client that an environment has.

    Args:
        python: its interpreter.
        asked: the bundles.
        folder: for files that pass between the processes.

    Raises:
        ClickException: the process failed before it asked anything.
    """
    _say(f"clients of {python}")
    installed = _run(python, folder, "-c", _PROBE).lower().replace("_", "-").split()
    jobs = [
        {
            "bundle": each.key,
            "folder": str(each.path / "model"),
            "task": each.manifest.task,
            "items": each.items,
            "clients": clients_of(each, installed),
        }
        for each in asked
    ]
    request, answers = folder / "request.json", folder / "answers.npz"
    request.write_text(json.dumps(jobs), encoding="utf-8")
    done = json.loads(_run(python, folder, str(ASK), str(request), str(answers)).splitlines()[-1])
    known = {each.key: each for each in asked}
    with np.load(answers) as arrays:
        loaded: dict[str, Any] = dict(arrays.items())
    rows = [compare(known[record["bundle"]], record, loaded) for record in done["records"]]
    return Environment(done["versions"], tuple(rows))


def changes(asked: Asked) -> list[str]:
    """What clients changed in a bundle's folder, a line each."""
    after = hashes(asked.path)
    found = [
        f"{asked.key}: {path} was added, removed or changed"
        for path in sorted(asked.files.keys() | after.keys())
        if asked.files.get(path) != after.get(path)
    ]
    try:
        Bundle.open(asked.path).verify()
    except BertcError as error:
        found.append(f"{asked.key}: {error.message}")
    return found


def _run(python: Path, folder: Path, *arguments: str) -> str:
    home = {"HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [str(python.absolute()), "-I", *arguments],
        cwd=folder,
        env={**os.environ, **home},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise click.ClickException(f"{python}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def _demo_model() -> tuple[Path, ...]:
    try:
        return (find_demo_model(),)
    except BertcError:
        return ()


def _texts(folder: Path) -> Path:
    from tests.support.data import text_rows, write_rows

    return write_rows(folder / "texts.jsonl", text_rows(64))


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    # Before what reads it is imported.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    answers_command()
