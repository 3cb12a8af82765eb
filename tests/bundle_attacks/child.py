"""One command in a process of its own, forked from a preloaded one, and everything that it did."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from tests.bundle_attacks.attack import Attack, Scene
from tests.bundle_attacks.commands import argv
from tests.bundle_attacks.watch import Watch

SECONDS: Final = 10.0
"""Of a core; what waits has longer, on a machine that others use too."""
WAITING: Final = 60.0

# The arguments of each event that are paths, or descriptors of folders that they start from.
_PATHS: Final[dict[str, tuple[tuple[int, int | None], ...]]] = {
    "open": ((0, None),),
    "os.listdir": ((0, None),),
    "os.scandir": ((0, None),),
    "os.chdir": ((0, None),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.truncate": ((0, None),),
    "os.utime": ((0, 3),),
    "os.mkdir": ((0, 2),),
    "os.rmdir": ((0, 1),),
    "os.remove": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "shutil.rmtree": ((0, None),),
    "ctypes.dlopen": ((0, None),),
}
_NEVER: Final = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork", "os.system", "socket.connect")


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Attributes:
        code: its exit code; less than 0 for the signal that ended it, None where it ran out of time.
        out, err: what it printed.
        events: (event, path, flags) of everything that it opened or changed, in its own words.
        touched: names of canaries that somebody opened or changed, as the kernel saw it.
        peak_mb: its largest resident size.
        seconds: of a core that it took.
    """

    code: int | None
    out: bytes
    err: bytes
    events: tuple[tuple[str, str, int], ...]
    touched: tuple[str, ...]
    peak_mb: float
    seconds: float


def run_forked(attack: Attack, command: str, scene: Scene, entry: Callable[[list[str]], int]) -> Done:
    """Runs a command over a scene in a forked process.

    Args:
        attack: whose context is entered in that process.
        command: its name.
        scene: that was made.
        entry: what runs the arguments; gives the exit code.
    """
    logs = {name: scene.root / f"log.{name}" for name in ("out", "err", "events")}
    descriptors = {
        name: os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600) for name, path in logs.items()
    }
    with Watch(scene.outside) as watch:
        start = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            _child(attack, argv(command, scene), scene, descriptors, entry)
        code, peak_mb, seconds = _wait(pid, start + WAITING)
        touched = watch.names()
    texts = {}
    for name, descriptor in descriptors.items():
        with os.fdopen(descriptor, "rb") as stream:
            stream.seek(0)
            texts[name] = stream.read()
        logs[name].unlink()
    events = tuple((event, path, flags) for event, path, flags in json.loads(texts["events"] or b"[]"))
    return Done(code, texts["out"], texts["err"], events, touched, peak_mb, seconds)


def make_forked(make: Callable[[], object]) -> None:
    """Runs what makes a scene in a forked process, so that its memory and threads are its own."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            make()
            status = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError("an attack could not be made")


def _wait(pid: int, deadline: float) -> tuple[int | None, float, float]:
    late = False
    pause = 0.001
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            break
        if not late and time.perf_counter() > deadline:
            late = True
            os.kill(pid, signal.SIGKILL)
        time.sleep(pause)
        pause = min(2 * pause, 0.01)
    seconds = usage.ru_utime + usage.ru_stime
    return None if late else os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024, seconds


def _child(
    attack: Attack,
    arguments: list[str],
    scene: Scene,
    descriptors: dict[str, int],
    entry: Callable[[list[str]], int],
) -> NoReturn:
    code = 99
    try:
        os.chdir(scene.root / "cwd")
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (descriptors["out"], 1), (descriptors["err"], 2)):
            os.dup2(source, target)
        sys.stdin = io.TextIOWrapper(io.FileIO(0), encoding="utf-8")
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w"), encoding="utf-8", line_buffering=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w"), encoding="utf-8", line_buffering=True)
        with attack.during(scene) if attack.during else contextlib.nullcontext():
            recorder = _Recorder()
            sys.addaudithook(recorder)
            code = entry(arguments)
            recorder.on = False
        sys.stdout.flush()
        os.write(descriptors["events"], json.dumps(recorder.events).encode("utf-8", "backslashreplace"))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


class _Recorder:
    """An audit hook; there is no way to remove one, but it can be told to stop."""

    def __init__(self) -> None:
        self.on = True
        self.events: list[tuple[str, str, int]] = []

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.on:
            return
        if event in _NEVER:
            self.events.append((event, ascii(args)[:200], 0))
        for place, folder in _PATHS.get(event, ()):
            path = args[place]
            if path is None or (isinstance(path, int) and event != "os.scandir"):
                continue
            descriptor = args[folder] if folder is not None and len(args) > folder else -1
            flags = args[2] if event == "open" and isinstance(args[2], int) else 0
            self.events.append((event, _resolved(path, descriptor), flags))


def _resolved(path: object, descriptor: object) -> str:
    if isinstance(path, int):
        return os.readlink(f"/proc/self/fd/{path}")
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
    if isinstance(descriptor, int) and descriptor >= 0:
        return str(Path(os.readlink(f"/proc/self/fd/{descriptor}")) / text)
    return text
