"""Runs what the pages show, in order: each page in a folder with nothing but a checkpoint and its data."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compiler.emulate.validation import ready_cpu
from targets.errors import BertcError
from tests.support.data import write_rows
from tools.docs.pages import Command, File, read_page
from tools.docs.substitutions import (
    EVALUATION,
    MODEL,
    TEXTS,
    TRAIN,
    quickened,
    reason_to_skip,
    substituted,
)

ROOT = Path(__file__).resolve().parent.parent.parent
LIMIT_S = 900.0
_EMULATED = re.compile(r"--emulate[ =](\S+)|bertc emulator run (\S+)")
_TARGET = re.compile(r"(?:--target|-t)[ =](\S+)")

Status = Literal["ran", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the pages' placeholders stand for.

    Attributes:
        model: a checkpoint's folder.
        train: a data file to calibrate on, with text and label.
        evaluation: one to validate on.
        max_drop: the gate of every compile; None for the one that the page has.
    """

    model: Path
    train: Path
    evaluation: Path
    max_drop: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one command.

    Attributes:
        page: path of the page within the repository.
        line: of the command.
        text: the command as the page has it.
        status: whether it ran, was skipped, or failed.
        note: seconds, reason, or what went wrong.
    """

    page: str
    line: int
    text: str
    status: Status
    note: str


def run_page(page: Path, inputs: Inputs, scratch: Path) -> Iterator[Outcome]:
    """Runs one page in `scratch`, an empty folder, and yields what comes of each command when it has."""
    name = page.relative_to(ROOT).as_posix() if page.is_relative_to(ROOT) else str(page)
    work = scratch / "work"
    prepare(work, inputs)
    environment = with_commands(scratch / "bin")
    for example in page.parent.glob("*") if page.name == "README.md" and page.parent != ROOT else ():
        if example.is_file() and example != page:
            shutil.copy(example, work / example.name)
    for each in read_page(page.read_text("utf-8")):
        if isinstance(each, File):
            (work / each.name).write_text(substituted(each.text), encoding="utf-8")
            continue
        status, note = outcome(each, inputs, work, environment)
        yield Outcome(name, each.line, each.text, status, note)


def prepare(work: Path, inputs: Inputs) -> None:
    """Puts the checkpoint and its data under the names that the pages use."""
    work.mkdir(parents=True)
    shutil.copytree(inputs.model, work / MODEL)
    for source, names in ((inputs.train, TRAIN), (inputs.evaluation, EVALUATION)):
        rows = read_rows(source)
        for name in names:
            if name.endswith(".jsonl") or "text" in rows[0]:
                write_rows(work / name, rows)
    lines = "".join(f"{text}\n" for text in map(_text, read_rows(inputs.train)))
    (work / TEXTS).write_text(lines, encoding="utf-8")


def _text(row: Mapping[str, object]) -> str:
    """What a row is about, on one line."""
    words = row.get("text") or row.get("sentence1") or row.get("tokens") or ""
    return " ".join(map(str, words)) if isinstance(words, list) else str(words)


def read_rows(path: Path) -> list[dict[str, object]]:
    """The rows of a .jsonl or .tsv file as {"text", "label"}."""
    lines = path.read_text("utf-8").splitlines()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in lines]
    if path.suffix != ".tsv":
        raise SystemExit(f"error: {path} is neither .tsv nor .jsonl")
    return [{"text": text, "label": int(label)} for text, label in (line.split("\t") for line in lines[1:])]


def with_commands(folder: Path) -> Mapping[str, str]:
    """An environment in which `bertc` and `python` are those of this checkout and this interpreter."""
    folder.mkdir(parents=True)
    for name, arguments in (("bertc", "-m compiler.cli "), ("python", ""), ("python3", "")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n', encoding="utf-8")
        script.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
    }


def outcome(each: Command, inputs: Inputs, work: Path, environment: Mapping[str, str]) -> tuple[Status, str]:
    """Whether a command ran as its page says, and the seconds, the reason, or its last lines."""
    reason = reason_to_skip(each) or emulator_is_missing(each.text)
    if reason is not None:
        return "skipped", reason
    text = quickened(substituted(each.text), inputs.max_drop)
    begin = time.perf_counter()
    try:
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=work,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "failed", f"was not done after {LIMIT_S:.0f} s"
    if done.returncode != each.exit_code:
        said = " / ".join((done.stderr or done.stdout).strip().splitlines()[-2:])
        return "failed", f"exit {done.returncode}, not {each.exit_code}: {said}"
    ended = f", exit {done.returncode}" if done.returncode else ""
    return "ran", f"{time.perf_counter() - begin:.1f} s{ended}"


def emulator_is_missing(text: str) -> str | None:
    """Why a command that needs an emulator cannot run; None where it needs none, or has it."""
    found = _EMULATED.search(text)
    names = [found[1] or found[2]] if found else []
    if "--validate-emulated" in text:
        names += _TARGET.findall(text)
    try:
        for name in names:
            ready_cpu(name)
    except BertcError as error:
        return error.message
    return None
