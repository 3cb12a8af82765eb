"""The device's commands and library work where the host's packages cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from targets.runtime.selftest import Tolerance, make_selftest
from tests.support.tiny_runtime import RUNTIMES, session, table, tiny_bundle

ROOT = Path(__file__).resolve().parents[2]
LABELS = ("negative", "positive")

# Host packages, and the runtime that the bundle does not use, cannot be imported; what a device has, can.
GUARD = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise RuntimeError("imported " + name)

BLOCKED = set(sys.argv.pop(1).split(","))
sys.meta_path.insert(0, Blocked())
for name in BLOCKED:
    try:
        __import__(name)
    except RuntimeError:
        continue
    raise SystemExit("not blocked: " + name)
"""
HOST = (
    *("torch", "transformers", "onnx", "onnx_ir", "onnxscript", "huggingface_hub", "safetensors", "rich"),
    *("pyarrow", "scipy", "compiler", "calibration", "tests"),
)
COMMAND = GUARD + "import runpy\nrunpy.run_module('targets.cli', run_name='__main__', alter_sys=True)\n"
LIBRARY = (
    GUARD
    + """
import numpy as np
from targets import Bundle

bundle = Bundle.open(sys.argv[1])
with bundle.session(threads=1) as session:
    found = session.predict(["good film", ("bad", "film")])
    raw = session.run({"input_ids": np.array([[2, 5, 3]]), "attention_mask": np.array([[1, 1, 1]])})
print([prediction.label for prediction in found], sorted(raw))
"""
)


def call(code: str, runtime: str, *argv: object) -> subprocess.CompletedProcess[str]:
    other = next(name for name in RUNTIMES if name != runtime)
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, ",".join((*HOST, other)), *map(str, argv)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture(scope="module", params=RUNTIMES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    runtime: str = request.param
    values = table(2, {"good": [-6.0, 6.0], "bad": [6.0, -6.0]})
    with session(runtime, "text-classification", values) as opened:
        data = make_selftest(opened, ["good film", ("bad", "film")], Tolerance(1e-3, 1e-3))
    path = tmp_path_factory.mktemp("device") / "tiny.bundle"
    tiny_bundle(path, runtime, "text-classification", values, LABELS, selftest=data)
    return runtime, path


def test_run(bundle: tuple[str, Path]) -> None:
    runtime, path = bundle
    done = call(COMMAND, runtime, "run", path, "--json", "--text", "a good film", "--text", "bad")
    assert (done.returncode, done.stderr) == (0, "")
    assert [json.loads(line)["label"] for line in done.stdout.splitlines()] == ["positive", "negative"]


def test_verify(bundle: tuple[str, Path]) -> None:
    runtime, path = bundle
    done = call(COMMAND, runtime, "verify", path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ok"] is True


def test_selftest(bundle: tuple[str, Path]) -> None:
    runtime, path = bundle
    done = call(COMMAND, runtime, "selftest", path, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["ok"] is True


def test_bench(bundle: tuple[str, Path]) -> None:
    runtime, path = bundle
    done = call(COMMAND, runtime, "bench", path, "--json", "--iterations", 5)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["shapes"]) == 3


def test_targets() -> None:
    done = call(COMMAND, "onnxruntime", "targets", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["targets"]


def test_doctor() -> None:
    done = call(COMMAND, "onnxruntime", "doctor", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["runtimes"]["openvino"] is None
    assert told["runtimes"]["onnxruntime"]
    assert {"torch", "transformers"} <= set(told["missing_packages"])


def test_library(bundle: tuple[str, Path]) -> None:
    runtime, path = bundle
    done = call(LIBRARY, runtime, path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == "['positive', 'negative'] ['logits']"


def test_nothing_heavy_before_it_is_used() -> None:
    code = "import sys, targets, targets.cli, targets.cli_errors\nprint(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "click" in loaded
    assert not loaded & {*HOST, *RUNTIMES, "numpy", "tokenizers"}
