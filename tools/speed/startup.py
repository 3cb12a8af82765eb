"""From the start of a process to its first answer: seconds, and the most memory it held."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from targets.errors import InternalError
from tools.cold_start import run_command
from tools.speed.models import Compiled, Peer

_RUNS: Final = 5
_TEXT: Final = "a gripping film"

_BARE: Final = """
import sys
import numpy as np, onnxruntime as ort
from tokenizers import Tokenizer
model, tokenizer, threads, text = sys.argv[1:]
options = ort.SessionOptions()
options.intra_op_num_threads = int(threads)
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
encoding = Tokenizer.from_file(tokenizer).encode(text)
masks = {"attention_mask": encoding.attention_mask, "token_type_ids": encoding.type_ids}
feeds = {"input_ids": encoding.ids, **masks}
names = [each.name for each in session.get_inputs()]
print(session.run(None, {name: np.array([feeds[name]], np.int64) for name in names})[0], flush=True)
"""

# A process counts the memory of the one that it was forked from as its own, so that one must be small.
_LAUNCHER: Final = """
import os, subprocess, sys, time
begin = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
answered = process.stdout.readline()
seconds = time.perf_counter() - begin
process.stdout.read()
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
if process.returncode or not answered.strip():
    sys.exit(f"exit status {process.returncode}")
print(seconds, usage.ru_maxrss)
"""

_PIPELINE: Final = """
import sys
import torch
from transformers import pipeline
model, threads, text = sys.argv[1:]
torch.set_num_threads(int(threads))
print(pipeline("text-classification", model)(text), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Start:
    """Medians of 5 processes, after one that brings the files into the page cache."""

    seconds: float
    memory_mb: float


def bundle_start(bundle: Compiled, threads: int, cache: Path | None = None) -> Start:
    """`bertc run` on one text, with what it compiled before in a folder if one is given."""
    command = run_command(bundle.path, threads)
    if cache is None:
        return _start(command)
    return _start([*command, "--cache"], {"BERTC_CACHE_DIR": str(cache)})


def bare_start(peer: Peer, bundle: Compiled, threads: int) -> Start:
    """A script of a dozen lines on onnxruntime, with a peer's model and the same tokenizer."""
    tokenizer = bundle.path / "tokenizer" / "tokenizer.json"
    return _start([sys.executable, "-c", _BARE, str(peer.path), str(tokenizer), str(threads), _TEXT])


def pipeline_start(model: str, threads: int) -> Start:
    """The pipeline of transformers on the checkpoint."""
    return _start([sys.executable, "-c", _PIPELINE, model, str(threads), _TEXT])


def _start(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Start:
    found = [_once(command, variables) for _ in range(_RUNS + 1)][1:]
    return Start(statistics.median(one[0] for one in found), statistics.median(one[1] for one in found))


def _once(command: Sequence[str], variables: Mapping[str, str] | None = None) -> tuple[float, float]:
    launcher = [sys.executable, "-S", "-c", _LAUNCHER, *command]
    env = {**os.environ, **(variables or {})}
    done = subprocess.run(launcher, capture_output=True, text=True, errors="replace", check=False, env=env)
    if done.returncode != 0:
        raise InternalError(f"{command[0]} failed: {done.stderr.strip()[-300:]}", "run it by hand")
    seconds, kilobytes = done.stdout.split()
    return float(seconds), int(kilobytes) / 1024
