"""Children of a process without threads, which can be killed at any point."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Child:
    """A forked process, and the end of a pipe that it writes to."""

    pid: int
    pipe: int

    def read(self) -> str:
        """All that it writes until it ends."""
        with os.fdopen(self.pipe, "rb") as stream:
            return stream.read().decode()

    def wait(self) -> int:
        """Its exit status; negative is the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def forked(run: Callable[[int], int]) -> Child:
    """Runs something in a child, which exits with what it returns; it is given its end of the pipe."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return Child(pid, reader)
    code = 70
    try:
        os.close(reader)
        code = run(writer)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)
