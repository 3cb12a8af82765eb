"""Children of one process that has imported everything: quick to start, and killed at any point."""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest


@dataclass(frozen=True)
class Child:
    """A forked process, and the end of a pipe that it writes to."""

    pid: int
    pipe: IO[str]

    def wait(self) -> int:
        """Its exit status; negative is the signal that ended it."""
        self.pipe.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def forked(run: Callable[[int], int]) -> Child:
    """Runs something in a child, which exits with what it returns; it is given its end of the pipe."""
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Of threads: runtimes start one when they are imported, which the child does without.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid:
        os.close(writer)
        return Child(pid, os.fdopen(reader))
    code = 70
    try:
        os.close(reader)
        code = run(writer)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


@dataclass(frozen=True)
class Place:
    """Where one command runs: its output, its temporary folder, its cache and what it says."""

    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    def make(self) -> Place:
        self.temporary.mkdir(parents=True)
        return self


def command_line(place: Place, *argv: object) -> int:
    """`bertc ARGV...` in this process, a child: its exit code. What it says is in the log."""
    from compiler.cli.group import make_group
    from targets.cli_errors import main_guard

    os.environ.update(TMPDIR=str(place.temporary), BERTC_CACHE_DIR=str(place.cache))
    tempfile.tempdir = None
    log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    sys.stdout, sys.stderr = (
        io.TextIOWrapper(os.fdopen(descriptor, "wb"), write_through=True) for descriptor in (1, 2)
    )
    return main_guard(make_group(), [str(each) for each in argv])


@contextmanager
def stages_told(pipe: int, last: int | None = None) -> Iterator[None]:
    """Within, a line goes to the pipe for each stage of a compile that begins, an empty one as it ends.

    Args:
        pipe: written to.
        last: how many begin before this process kills itself; None if it does not.
    """
    from compiler.progress import Advance, Clock

    whole, begun = Clock.stage, 0

    def kill() -> None:
        if begun == last:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def told(clock: Clock, name: str, total: int | None = None) -> Iterator[Advance]:
        nonlocal begun
        begun += 1
        os.write(pipe, f"{name}\n".encode())
        kill()
        with whole(clock, name, total) as advance:
            yield advance
        os.write(pipe, b"\n")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clock, "stage", told)
        kill()
        yield


def import_what_is_used(place: Place, *argv: object) -> None:
    """Runs a command in a child, and imports here whatever that imported.

    Raises:
        RuntimeError: it failed.
    """
    import compiler.cli.console
    import compiler.compile  # noqa: F401

    def run(pipe: int) -> int:
        before = set(sys.modules)
        code = command_line(place, *argv)
        with os.fdopen(pipe, "w") as stream:
            json.dump([name for name in sys.modules if name not in before], stream)
        return code

    child = forked(run)
    names: Sequence[str] = json.loads(child.pipe.read() or "[]")
    if child.wait() != 0:
        raise RuntimeError(place.log.read_text())
    for name in names:
        # Some are made up by packages that import lazily.
        with suppress(ImportError):
            importlib.import_module(name)
