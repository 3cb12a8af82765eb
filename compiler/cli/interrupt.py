"""Ctrl-C that is never lost, and an end that does not make the user wait."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NoReturn

_AGAIN: Final = 0.05


@contextmanager
def kept_interrupts() -> Iterator[None]:
    """Send Ctrl-C once more where Python could only ignore it.

    An interrupt that falls into a destructor or a weak reference's callback, of which importing torch
    runs thousands, is reported and dropped, and the compile would go on.
    """
    before = sys.unraisablehook

    def hook(unraisable: sys.UnraisableHookArgs, /) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            before(unraisable)
            return
        timer = threading.Timer(_AGAIN, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


def leave(code: int) -> NoReturn:
    """End the process at once: taking torch and the runtimes apart module by module takes seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        # A reader that has gone was dealt with when its text was written.
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
