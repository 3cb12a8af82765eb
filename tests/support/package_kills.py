"""`python -m tests.support.package_kills FOLDER`: kills write_bundle at every step, and prints what was left.

In a process of its own, because it forks.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from compiler.package import write_bundle
from targets.bundle import atomic_dir
from targets.bundle.reader import Bundle
from targets.errors import BertcError
from tests.support.bundles import FILES, sample_manifest
from tests.support.forked import forked

EVENTS = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")
"""Of Python's audit, before what changes a file system; with files that are opened for writing."""
SIBLING = re.compile(r"\.a\.(tmp|old)-[0-9]+-[0-9a-f]+")


def no_exchange(*_: object) -> bool:
    return False


EXCHANGE = atomic_dir._exchange
CASES: dict[str, tuple[str | None, Callable[[Path, Path], bool]]] = {
    "new": (None, EXCHANGE),
    "replaced": ("old", EXCHANGE),
    "replaced in steps": ("old", no_exchange),
    "after a kill between the steps": ("half", no_exchange),
}


def write(output: Path, name: str, *, force: bool) -> Bundle:
    return write_bundle(output, replace(sample_manifest(), name=name), FILES, force=force)


def state(output: Path) -> str:
    """The name of the bundle that is there, whole; "nothing", or what is wrong."""
    if not os.path.lexists(output):
        return "nothing"
    try:
        bundle = Bundle.open(output)
        bundle.verify()
    except BertcError as error:
        return f"partial: {error.message}"
    return bundle.manifest.name


def killed_at(step: int, output: Path, exchange: Callable[[Path, Path], bool]) -> tuple[bool, str]:
    """Whether a forced write ended before it was killed, and the call before which it was."""

    def run(pipe: int) -> int:
        left = step

        def count(event: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.write(pipe, event.encode())
                os.kill(os.getpid(), signal.SIGKILL)

        def exchanged(first: Path, second: Path) -> bool:
            count("renameat2")
            return exchange(first, second)

        def audit(event: str, arguments: tuple[Any, ...]) -> None:
            if event in EVENTS or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
                names = [Path(each).name for each in arguments if isinstance(each, (str, Path))]
                count(f"{event} {' '.join(re.sub('[0-9]+-[0-9a-f]+', '*', each) for each in names)}")

        os.fsync = lambda fd: count("fsync")  # noqa: ARG005
        atomic_dir._exchange = exchanged
        sys.addaudithook(audit)
        write(output, "new", force=True)
        return 0

    child = forked(run)
    call = child.pipe.read()
    return child.wait() == 0, call


def prepare(folder: Path, before: str | None) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    output = folder / "a"
    if before is not None:
        write(output, "old", force=False)
    if before == "half":
        output.rename(folder / ".a.old-1-0a")
        shutil.copytree(folder / ".a.old-1-0a", folder / ".a.tmp-1-0a")
    return output


def next_runs(output: Path, found: str) -> str:
    """What a run without --force says, and what one with it leaves; "" if all is as it should be."""
    halves = [name for name in os.listdir(output.parent) if name.startswith(".a.old-")]
    there = "old" if found == "nothing" and halves else found
    try:
        write(output, "next", force=False)
        refused = "nothing"
    except BertcError as error:
        refused = state(output) if "exists already" in error.message else error.message
    if refused != there:
        return f"without --force there was {refused}, not {there}"
    if os.listdir(output.parent) != ["a"]:
        return f"without --force there was {sorted(os.listdir(output.parent))}"
    write(output, "last", force=True)
    if state(output) != "last" or os.listdir(output.parent) != ["a"]:
        return f"with --force there was {state(output)} in {sorted(os.listdir(output.parent))}"
    return ""


def kill_everywhere(folder: Path) -> list[dict[str, Any]]:
    rows = []
    os.fsync = lambda fd: None  # noqa: ARG005
    for case, (before, exchange) in CASES.items():
        for step in range(1, 1000):
            output = prepare(folder, before)
            ended, call = killed_at(step, output, exchange)
            if ended:
                break
            found = state(output)
            kinds = sorted(match[1] for match in map(SIBLING.fullmatch, os.listdir(folder)) if match)
            row = {"case": case, "step": step, "before": call, "output": found, "siblings": kinds}
            rows.append({**row, "next": next_runs(output, found)})
    return rows


if __name__ == "__main__":
    print(json.dumps(kill_everywhere(Path(sys.argv[1]) / "kills"), indent=1))
