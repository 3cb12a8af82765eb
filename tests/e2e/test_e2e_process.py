"""What only a process of its own shows: Ctrl-C, a full disk, missing packages, a closed pipe."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.compiling import TARGET, Bundles, Checkpoints, everything

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 2.0

Interrupted = tuple[int, str, str, float, Path]
"""Exit code, stdout, stderr, when it had ended, and the folder it ran in."""

# The handler is set because background jobs of a shell, and so their children, start with SIGINT ignored.
# Sends Ctrl-C to itself when a stage has begun, and says when; then runs the command as its entry point does.
INTERRUPTED = """
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import compiler.compile, compiler.package, compiler.progress
from compiler.cli import main

stage, delay = sys.argv.pop(1), float(sys.argv.pop(1))

def interrupt():
    sys.stderr.write(f"interrupted at {time.monotonic()}\\n")
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGINT)

start, write = compiler.progress.Clock.stage, compiler.package._write

def begin(self, name, total=None):
    if name.startswith(stage):
        threading.Timer(delay, interrupt).start()
    return start(self, name, total)

def put(root, path, *rest):
    if stage == "writing" and path.startswith("tokenizer/"):
        interrupt()
    return write(root, path, *rest)

compiler.progress.Clock.stage, compiler.package._write = begin, put
main()
"""
HIDDEN = """
import sys

names = set(sys.argv.pop(1).split(","))

class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in names else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from compiler.cli import main
main()
"""
LOST = """
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from compiler.cli.interrupt import kept_interrupts

class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

with kept_interrupts():
    try:
        last = Last()
        del last
        time.sleep(20)
    except KeyboardInterrupt:
        print("interrupted")
"""


def start(folder: Path, code: str, *argv: object, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, argv)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "BERTC_CACHE_DIR": str(folder / "cache")},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, out, err


def call(folder: Path, code: str, *argv: object, **options: object) -> tuple[int, str, str]:
    return finish(start(folder, code, *argv, **options))


STAGES = (
    ("reading", 0.8),
    ("tracing", 0.3),
    ("calibrating", 0.05),
    ("timing", 0.1),
    ("validating", 0.0),
    ("writing", 0.0),
)


@pytest.fixture(scope="module")
def interrupted(
    onnx_model: Path,
    checkpoint: Checkpoints,
    task_data: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[str, float], Interrupted]:
    """One compile for each stage, two at a time, interrupted there."""
    data = task_data(count=200)
    traced = checkpoint("bert", "text-classification")
    options = ("--calibration-data", data, "--eval-data", data, "--max-drop", 1, "--ranges", "minmax")

    def run(stage: tuple[str, float]) -> Interrupted:
        folder = tmp_path_factory.mktemp(stage[0])
        model = traced if stage[0] in ("tracing", "reading") else onnx_model
        command = ("compile", model, "-o", folder / "out", "--keep-debug", *options)
        code, out, err = call(folder, INTERRUPTED, *stage, *command)
        return code, out, err, time.monotonic(), folder

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(STAGES, pool.map(run, STAGES), strict=True))


@pytest.mark.parametrize("stage", STAGES)
def test_interrupt(interrupted: dict[tuple[str, float], Interrupted], stage: tuple[str, float]) -> None:
    code, out, err, end, folder = interrupted[stage]
    assert code == 130, err
    assert out == ""
    lines = err.splitlines()
    assert lines[-1] == "error: interrupted"
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    sent = next(line for line in lines if line.startswith("interrupted at"))
    assert end - float(sent.split()[-1]) < SECONDS
    assert not [path for path in everything(folder) if not path.startswith("cache")]


def test_an_interrupt_in_a_destructor_is_not_lost(tmp_path: Path) -> None:
    begin = time.monotonic()
    assert call(tmp_path, LOST) == (0, "interrupted\n", "")
    assert time.monotonic() - begin < 10


BUSY = """
import hashlib, os, pathlib, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)
from compiler.cli.interrupt import kept_interrupts
from targets.bundle.atomic_dir import staged_directory

with kept_interrupts(), staged_directory(pathlib.Path("a.bundle"), replace=False):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    # Hours without a return to Python.
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


def test_an_interrupt_in_native_code(tmp_path: Path) -> None:
    assert call(tmp_path, BUSY) == (130, "", "error: interrupted\n")
    assert everything(tmp_path) == []


def test_an_interrupt_while_it_starts(tmp_path: Path) -> None:
    code = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from compiler.cli import main
main()
"""
    assert call(tmp_path, code, "targets") == (130, "", "")


def test_a_full_temporary_folder(onnx_model: Path, data: Path, tmp_path: Path) -> None:
    """As if every write there beyond a few kilobytes failed."""
    code = """
import resource, shutil, signal
from collections import namedtuple
shutil.disk_usage = lambda path: namedtuple("Usage", "total used free")(10**9, 10**9 - 4096, 4096)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
from compiler.cli import main
main()
"""
    ended = [
        start(
            tmp_path,
            code,
            *("compile", onnx_model, "-o", tmp_path / "out", "--runtime", runtime, "--keep-debug"),
            *("--calibration-data", data, "--eval-data", data, "--max-drop", 1, "--ranges", "minmax"),
        )
        for runtime in ("onnxruntime", "openvino")
    ]
    for status, out, err in map(finish, ended):
        assert (status, out) == (2, ""), err
        assert [line.partition(":")[0] for line in err.splitlines()[-2:]] == ["error", "hint"], err
        assert "the temporary folder" in err.splitlines()[-2]
        assert "TMPDIR" in err.splitlines()[-1]
        assert "UserWarning" not in err
        assert not (tmp_path / "out").exists()


def test_read_only_output(onnx_model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    prefix = []
    if os.geteuid() == 0:
        drop = shutil.which("setpriv")
        if drop is None:
            pytest.skip("needs setpriv where the tests run as root, whom no mode stops")
        prefix = [drop, "--bounding-set", "-dac_override"]
    done = subprocess.run(
        [
            *(*prefix, sys.executable, "-m", "compiler.cli", "compile", str(onnx_model), "-o", str(out)),
            *("--calibration-data", str(data)),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), "BERTC_CACHE_DIR": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "read-only" in done.stderr.splitlines()[-2]
    assert "tracing" not in done.stderr
    assert everything(out) == []


@pytest.mark.parametrize(
    ("hidden", "options", "parts"),
    [
        ("torch", (), ["compiling needs torch", 'pip install "bertc[compile]"']),
        ("onnxruntime,openvino", (), ["onnxruntime", 'pip install "bertc[compile]"']),
        ("openvino", ("--runtime", "openvino"), ["openvino is not installed", "pip install"]),
    ],
)
def test_missing_packages_of_the_host(
    onnx_model: Path, data: Path, tmp_path: Path, hidden: str, options: tuple[str, ...], parts: list[str]
) -> None:
    command = ("compile", onnx_model, "-o", tmp_path / "out", "--calibration-data", data, *options)
    code, out, err = call(tmp_path, HIDDEN, hidden, *command)
    assert (code, out) == (7, ""), err
    assert [line.partition(":")[0] for line in err.splitlines()] == ["error", "hint"]
    for part in parts:
        assert part in err
    assert everything(tmp_path) == []


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_missing_backend_of_a_device(bundles: Bundles, tmp_path: Path, runtime: str) -> None:
    path = bundles("bert", "text-classification", runtime).path
    for command in (("run", path, "--text", "a"), ("verify", path), ("selftest", path), ("bench", path)):
        code, out, err = call(tmp_path, HIDDEN, f"{runtime},torch,transformers,onnx_ir", *command)
        assert (code, out) == (7, ""), err
        assert runtime in err
        assert f'pip install "bertc[{runtime}]"' in err.splitlines()[-1]
        assert len(err.splitlines()) == 2


def test_the_other_runtime_is_enough(onnx_model: Path, data: Path, tmp_path: Path) -> None:
    command = ("compile", onnx_model, "-o", tmp_path / "out", "--calibration-data", data, "--json")
    code, out, err = call(tmp_path, HIDDEN, "openvino", *command, "--ranges", "minmax")
    assert code == 0, err
    (bundle,) = json.loads(out)["bundles"]
    assert bundle["runtime"] == "onnxruntime"


def test_a_reader_that_leaves(bundles: Bundles, tmp_path: Path) -> None:
    path = bundles("bert", "text-classification", "onnxruntime").path
    texts = tmp_path / "texts.txt"
    texts.write_text("a film\n" * 20_000, encoding="utf-8")
    process = start(tmp_path, "from compiler.cli import main; main()", "run", path, "--file", texts)
    assert process.stdout is not None
    assert process.stderr is not None
    assert json.loads(process.stdout.readline())["text"] == "a film"
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == ""
    process.stderr.close()


def test_it_says_what_it_does_where_nobody_watches(onnx_model: Path, data: Path, tmp_path: Path) -> None:
    code, out, err = call(
        tmp_path,
        "from compiler.cli import main; main()",
        *("compile", onnx_model, "-o", "out", "--calibration-data", data, "--eval-data", data),
        *("--max-drop", 1, "--ranges", "minmax", "--runtime", "onnxruntime"),
    )
    assert code == 0, err
    stages = [line[:28].rstrip() for line in err.splitlines()]
    assert stages == [
        *("reading the checkpoint", "reading the texts", "tracing", "rewriting the graph"),
        *("evaluating FP32", "calibrating"),
        *("lowering to onnxruntime", "validating on onnxruntime", "recording golden outputs"),
        *("timing against FP32", "packaging"),
    ]
    assert "\x1b" not in out + err
    for part in (f"tiny-{TARGET}.bundle", "smaller", "accuracy", "agreement", "gate", "bertc run out/tiny"):
        assert part in out
