"""The pure parts of `python -m tools.bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from compiler.latency import Ratio
from compiler.validate import Validation
from targets.bundle.reader import Bundle
from targets.detect import Machine
from targets.errors import InternalError, UsageError
from tests.support.tiny_runtime import table, tiny_bundle
from tools import bench, cold_start
from tools.bench_report import Row, ShapeResult, environment, installed, markdown, summary

MACHINE = Machine("x86_64", "linux", "A CPU", frozenset(), 2, 4096)


def row(name: str, cold: float | None = None, *, scale: float = 1.0) -> Row:
    validation = Validation(
        metric="accuracy",
        baseline=0.9,
        compiled=0.89,
        delta=-0.01,
        ci95=(-0.02, 0.0),
        agreement=0.985,
        n=100,
        evidence="measured",
        status="passed",
        max_drop=1.0,
        labelled=True,
        metrics={"baseline": {"accuracy": 0.9}, "compiled": {"accuracy": 0.89}},
    )
    speedup = Ratio(scale, 0.9 * scale, 1.1 * scale)
    return Row(name, 23_400_000, validation, (ShapeResult(1, 32, 10 / scale, speedup),), cold)


def test_the_table_is_aligned_markdown() -> None:
    lines = markdown([row("torch FP32"), row("a longer name", 0.5, scale=2.5)]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert set(lines[1]) <= set("|-: ")
    head, first, second = ([cell.strip() for cell in lines[i].split("|")[1:-1]] for i in (0, 2, 3))
    assert head == ["model", "MB", "accuracy", "agreement", "1x32", "first answer"]
    assert first == ["torch FP32", "23.4", "0.8900", "98.50%", "10.00 ms", ""]
    assert second == ["a longer name", "23.4", "0.8900", "98.50%", "4.00 ms, 2.50x [2.25, 2.75]", "0.50 s"]
    assert "first answer" not in markdown([row("torch FP32")])


def test_the_document_holds_where_and_how() -> None:
    where = environment(MACHINE, "python -m tools.bench --rounds 9")
    document = json.loads(bench._document([row("torch FP32", 0.5)], where, threads=2, rounds=9))
    assert document["machine"]["cpu"] == "A CPU"
    assert document["versions"]["numpy"]
    assert document["command"] == "python -m tools.bench --rounds 9"
    assert (document["threads"], document["rounds"]) == (2, 9)
    (only,) = document["rows"]
    assert only["latency"] == [
        {"batch": 1, "tokens": 32, "p50_ms": 10.0, "speedup": {"value": 1.0, "low": 0.9, "high": 1.1}}
    ]
    assert only["validation"]["agreement"] == 0.985
    text = summary(where, threads=2, rounds=9, texts=100)
    assert "A CPU, 2 cores, 4096 MiB" in text
    assert "median of 9 interleaved rounds" in text
    assert installed(["no-such-package-at-all"]) == {}


def test_a_checkpoint_needs_its_data(tmp_path: Path) -> None:
    data = tmp_path / "data.txt"
    with pytest.raises(UsageError, match="without its data"):
        bench._source("model", data, None, tmp_path)
    with pytest.raises(UsageError, match="without a checkpoint"):
        bench._source(None, None, data, tmp_path)
    assert bench._source("model", data, data, tmp_path) == ("model", data, data)


def test_the_demo_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "find_demo_model", lambda: tmp_path / "model")
    model, calibration, evaluation = bench._source(None, None, None, tmp_path)
    assert model == str(tmp_path / "model")
    assert len(calibration.read_text(encoding="utf-8").splitlines()) == 300
    assert len(evaluation.read_text(encoding="utf-8").splitlines()) >= 150


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("text-classification", ["--text", "x"]),
        ("question-answering", ["--text", "x", "--text-pair", "x is a letter"]),
        ("fill-mask", ["--text", "x [MASK]"]),
    ],
)
def test_the_first_answer_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str, options: list[str]
) -> None:
    width = {"text-classification": 2, "question-answering": 2, "fill-mask": 42}[task]
    labels = ("no", "yes") if task == "text-classification" else ()
    path = tiny_bundle(tmp_path / "x.bundle", "onnxruntime", task, table(width), labels).path
    assert cold_start._texts(Bundle.open(path)) == options
    monkeypatch.setattr(cold_start, "_RUNS", 1)
    assert 0 < cold_start.cold_start(path, 1) < 60


def test_a_command_that_fails_has_no_time() -> None:
    with pytest.raises(InternalError, match="ended with 3"):
        cold_start._first_line([sys.executable, "-c", "raise SystemExit(3)"])
