"""Seconds from the start of a process to the first answer of a bundle."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from targets.bundle.reader import Bundle
from targets.errors import InternalError

_RUNS = 5


def cold_start(path: Path, threads: int) -> float:
    """The median of 5 processes, after one that brings the files into the page cache.

    Raises:
        InternalError: the command failed.
    """
    command = run_command(path, threads)
    return statistics.median([_first_line(command) for _ in range(_RUNS + 1)][1:])


def run_command(path: Path, threads: int) -> list[str]:
    """`bertc run` on one text that the bundle's task can answer."""
    return [*_program(), "run", str(path), "--threads", str(threads), *_texts(Bundle.open(path))]


def _program() -> list[str]:
    script = Path(sys.executable).parent / "bertc"
    return [str(script)] if script.is_file() else [sys.executable, "-m", "compiler.cli"]


def _texts(bundle: Bundle) -> list[str]:
    """A text that the bundle's task can answer."""
    text = "x"
    if bundle.manifest.task == "question-answering":
        return ["--text", text, "--text-pair", "x is a letter"]
    mask = bundle.manifest.tokenizer.mask_token_id
    if bundle.manifest.task == "fill-mask" and mask is not None:
        tokenizer = Tokenizer.from_str(bundle.read("tokenizer/tokenizer.json").decode())
        text += f" {tokenizer.id_to_token(mask)}"
    return ["--text", text]


def _first_line(command: Sequence[str]) -> float:
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        answered = process.stdout.readline()
        seconds = time.perf_counter() - begin
        process.stdout.read()
    if process.returncode != 0 or not answered.strip():
        raise InternalError(f"`{' '.join(command)}` ended with {process.returncode}", "run it by hand")
    return seconds
