"""Ctrl-C that is never lost, and an end that does not make the user wait."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final, NoReturn

from targets.temporary import remove_held

INTERRUPTED: Final = 130
PATIENCE: Final = 0.6
"""Seconds that what runs in native code has to come back to Python."""
_AGAIN: Final = 0.05
_CLEAR_LINE: Final = "\r\x1b[2K\x1b[?25h"
"""Takes a bar away and shows the cursor that it hid."""


@contextmanager
def kept_interrupts() -> Iterator[None]:
    """Send Ctrl-C once more where Python could only ignore it, and answer it where Python cannot.

    An interrupt that falls into a destructor or a weak reference's callback, of which importing torch
    runs thousands, is reported and dropped, and the compile would go on. One that falls into a long call of
    native code waits for its end; see `Watchdog`.
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
        with watched(Watchdog(_end_now)):
            yield
    finally:
        sys.unraisablehook = before


class Watchdog:
    """Ends the process if the main thread does not answer an interrupt.

    Args:
        end: called, by another thread, when it has not.
        patience: seconds that the main thread has.
    """

    def __init__(self, end: Callable[[], object], patience: float = PATIENCE) -> None:
        """Watches nothing yet."""
        self._end = end
        self._patience = patience
        self._answered = threading.Event()

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The signal's handler, which runs in the main thread as soon as that is in Python again."""
        self._answered.set()
        signal.default_int_handler(number, frame)

    def watch(self, pipe: int) -> None:
        """Reads the signals that C's own handler writes at once, until the pipe is closed."""
        while number := os.read(pipe, 1):
            if number[0] == signal.SIGINT and not self._answered.wait(self._patience):
                self._end()
            self._answered.clear()


@contextmanager
def watched(watchdog: Watchdog) -> Iterator[None]:
    """Within, the watchdog sees every interrupt; nothing is done where interrupts are ignored."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    thread = threading.Thread(target=watchdog.watch, args=(reader,), name="interrupts", daemon=True)
    thread.start()
    other = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGINT, watchdog.handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.set_wakeup_fd(other)
        os.close(writer)
        thread.join()
        os.close(reader)


def _end_now() -> NoReturn:
    """What `main_guard` would do, while the main thread is still in native code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        remove_held()
    text = "error: interrupted\n"
    with suppress(OSError):
        os.write(2, (f"{_CLEAR_LINE}{text}" if os.isatty(2) else text).encode())
    os._exit(INTERRUPTED)


def leave(code: int) -> NoReturn:
    """End the process at once: taking torch and the runtimes apart module by module takes seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        # A reader that has gone was dealt with when its text was written.
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
