"""Runs texts through a bundle for long, and samples the memory of whoever runs them."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from targets.bundle.reader import Bundle
from targets.errors import InternalError
from targets.runtime.items import TextItem
from tools.soak_texts import write_jsonl

SESSION: Final = "session"
COMMAND: Final = "bertc run --file"
_FIELDS: Final = re.compile(r"^(VmRSS|VmHWM):\s+([0-9]+) kB", re.MULTILINE)
_ROOT: Final = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Sample:
    """Memory after so many texts.

    Attributes:
        texts: answered so far.
        seconds: since the first was given.
        rss: resident bytes of the process.
        peak: the most that they were so far.
        objects: Python's, as its garbage collector tracks them; None of another process.
    """

    texts: int
    seconds: float
    rss: int
    peak: int
    objects: int | None = None


@dataclass(slots=True)
class Soak:
    """What one way of running found: its samples in order, the texts in all and their seconds."""

    how: str
    samples: list[Sample] = field(default_factory=list)
    texts: int = 0
    seconds: float = 0.0


Watch = Callable[[str, Sample], None]


def soak_session(
    bundle: Bundle, items: Iterator[TextItem], every: int, threads: int | None, watch: Watch
) -> Soak:
    """Streams texts through a session of this process, so many in a call, and samples after each.

    Raises:
        InternalError: fewer or more answers than texts.
    """
    found = Soak(SESSION)
    with bundle.session(threads=threads, objective="throughput") as session:
        begin = time.perf_counter()
        _take(found, os.getpid(), 0, 0.0, watch, own=True)
        while chunk := list(islice(items, every)):
            answered = sum(1 for _ in session.stream(chunk))
            if answered != len(chunk):
                raise InternalError(f"{answered} answers to {len(chunk)} texts", "report it")
            found.texts += len(chunk)
            found.seconds = time.perf_counter() - begin
            del chunk
            _take(found, os.getpid(), found.texts, found.seconds, watch, own=True)
    return found


def soak_command(
    bundle: Bundle, items: Iterator[TextItem], every: int, threads: int | None, watch: Watch
) -> Soak:
    """Gives texts to `bertc run --file` in a process of its own, and samples that as its answers come.

    Raises:
        InternalError: the command failed, or printed fewer or more lines than it was given texts.
    """
    found = Soak(COMMAND)
    with tempfile.TemporaryDirectory(prefix="bertc-soak-") as folder:
        path = Path(folder) / "texts.jsonl"
        write_jsonl(path, items)
        with path.open("rb") as stream:
            count = sum(1 for _ in stream)
        command = [sys.executable, "-m", "targets.cli", "run", str(bundle.path), "--file", str(path)]
        if threads is not None:
            command += ["--threads", str(threads)]
        own = {**os.environ, "PYTHONPATH": str(_ROOT)}
        with (
            (Path(folder) / "errors").open("wb+") as errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=own) as process,
        ):
            _watch_lines(found, process, every, count, watch)
            if process.wait() != 0 or found.texts != count:
                errors.seek(0)
                told = errors.read(500).decode("utf-8", "replace")
                raise InternalError(f"{found.texts} answers to {count} texts: {told}", "report it")
    return found


def _watch_lines(found: Soak, process: subprocess.Popen[bytes], every: int, count: int, watch: Watch) -> None:
    """Counts answers, and samples as they come, but for the last, after which the process ends."""
    assert process.stdout is not None
    begin = time.perf_counter()
    for _ in process.stdout:
        found.texts += 1
        if found.texts == 1 or (found.texts % every == 0 and found.texts < count):
            _take(found, process.pid, found.texts, time.perf_counter() - begin, watch, own=False)
    found.seconds = time.perf_counter() - begin


def _take(found: Soak, pid: int, texts: int, seconds: float, watch: Watch, *, own: bool) -> None:
    objects = None
    if own:
        gc.collect()
        objects = len(gc.get_objects())
    rss, peak = memory_of(pid)
    found.samples.append(Sample(texts, seconds, rss, peak, objects))
    watch(found.how, found.samples[-1])


def memory_of(pid: int) -> tuple[int, int]:
    """Resident bytes of a process now, and at most so far."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    sizes = {name: int(size) * 1024 for name, size in _FIELDS.findall(status)}
    return sizes["VmRSS"], sizes["VmHWM"]
