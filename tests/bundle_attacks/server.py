"""A preloaded process that runs attacks: names of attacks in, results out, one JSON document a line.

python -m tests.bundle_attacks.server FOLDER
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """One command over one attack.

    Attributes:
        command: its name.
        code: its exit code; None where it was ended.
        error: the line that says what is wrong, or the first line that was printed.
        over_mb: memory more than over a benign bundle.
        seconds: that it took.
        problems: what does not hold.
    """

    command: str
    code: int | None
    error: str
    over_mb: float
    seconds: float
    problems: tuple[str, ...]


class Client:
    """The other end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, attack_id: str, commands: Sequence[str] = ()) -> list[Outcome]:
        """Makes an attack and runs its commands over it, each over its own copy; all where none is named."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([attack_id, list(commands)]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that runs attacks died over {attack_id!r}")
        return [Outcome(**{**each, "problems": tuple(each["problems"])}) for each in json.loads(line)]


@contextmanager
def client(folder: Path) -> Iterator[Client]:
    """Starts the process, which works in a new folder."""
    environment = {**os.environ, **_ENVIRONMENT, "BERTC_CACHE_DIR": str(folder / "cache")}
    command = [sys.executable, "-m", "tests.bundle_attacks.server", str(folder)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield Client(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        assert process.stdout is not None
        process.stdout.close()


_ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "PYTHONUTF8": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}


def _serve(folder: Path) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    runner = _Runner(folder)
    for line in sys.stdin:
        outcomes = runner.run(*json.loads(line))
        answers.write(json.dumps([asdict(each) for each in outcomes]) + "\n")
        answers.flush()


class _Runner:
    def __init__(self, folder: Path) -> None:
        from tests.bundle_attacks.child import make_forked
        from tests.bundle_attacks.registry import attacks
        from tests.bundle_attacks.samples import make_samples

        _preload()
        self._folder = folder
        self._attacks = {attack.id: attack for attack in attacks()}
        self._benign: dict[tuple[str, str], Any] = {}
        self._number = 0
        make_forked(lambda: make_samples(folder / "samples"))
        # What is there is shared with forked processes, and stays so.
        gc.collect()
        gc.freeze()

    def run(self, attack_id: str, commands: Sequence[str]) -> list[Outcome]:
        attack = self._attacks[attack_id]
        return [self._run(attack, command) for command in commands or attack.commands]

    def _run(self, attack: Any, command: str) -> Outcome:
        from tests.bundle_attacks.check import problems

        benign = self._baseline(attack, command)
        scene, before, done, after = self._execute(attack, command)
        found = problems(attack, scene, done, benign, before, after)
        shutil.rmtree(scene.root)
        lines = (done.err or done.out).decode("utf-8", "backslashreplace").splitlines()
        error = next((line for line in lines if line.startswith("error: ")), lines[0] if lines else "")
        over = done.peak_mb - benign.peak_mb
        return Outcome(
            command, done.code, error.replace(str(scene.root), ""), over, done.seconds, tuple(found)
        )

    def _baseline(self, attack: Any, command: str) -> Any:
        """The same command over what the attack was made of."""
        from tests.bundle_attacks.attack import Attack
        from tests.bundle_attacks.check import problems

        key = (attack.base, command)
        if key not in self._benign:
            kind = Attack("benign", command, (command,), lambda _: None, attack.base, (0,), "it is benign")
            scene, before, done, after = self._execute(kind, command)
            found = problems(kind, scene, done, done, before, after)
            if found and not (attack.base == "onnx" and command == "verify --key"):
                raise RuntimeError(f"{key}: {found}")
            shutil.rmtree(scene.root)
            self._benign[key] = done
        return self._benign[key]

    def _execute(self, attack: Any, command: str) -> Any:
        from tests.bundle_attacks.check import Snapshot
        from tests.bundle_attacks.child import make_forked, run_forked
        from tests.bundle_attacks.samples import set_scene

        self._number += 1
        scene = set_scene(self._folder / "samples", attack.base, self._folder / str(self._number))
        if command == "pack":
            scene.output.mkdir()
        make_forked(lambda: attack.make(scene))
        before = Snapshot.of(scene)
        done = run_forked(attack, command, scene, _entry(command))
        return scene, before, done, Snapshot.of(scene)


def _entry(command: str) -> Any:
    from compiler.cli.group import make_group
    from targets.cli import device_group
    from targets.cli_errors import main_guard

    host = command.split()[0] in ("validate", "inspect")
    return lambda arguments: main_guard(make_group() if host else device_group(), arguments)


def _preload() -> None:
    """Imports what the commands use, so that a forked process need not."""
    import importlib

    for name in (
        *("onnxruntime", "openvino", "tokenizers", "cryptography.hazmat.primitives.serialization"),
        *("compiler.cli.group", "compiler.revalidate", "compiler.report.text", "rich.progress"),
        *("targets.runtime.session", "targets.runtime.selftest", "targets.runtime.tuning"),
        *("targets.runtime.backends.onnxruntime", "targets.runtime.backends.openvino"),
        *("targets.bundle.archive", "targets.cli.describe", "targets.cli.texts", "tarfile", "zipfile"),
        *("targets.bundle.signature", "calibration.data", "compiler.sessions", "compiler.cli.text_progress"),
    ):
        importlib.import_module(name)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
