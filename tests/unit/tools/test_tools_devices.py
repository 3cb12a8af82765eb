"""`python -m tools.devices`: its page, and the target that it compiles for."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from compiler.progress import Clock
from compiler.validate import Validation
from targets.errors import UsageError
from tests.support.compiling import Recorder
from tools import devices
from tools.contestants import Source
from tools.devices import Study, Subject, full_range
from tools.devices_report import Row, page

VALIDATION = Validation(
    metric="f1",
    baseline=0.91,
    compiled=0.905,
    delta=-0.005,
    ci95=(-0.02, 0.01),
    agreement=0.985,
    n=200,
    evidence="emulated",
    status="passed",
    max_drop=1.0,
    labelled=True,
    metrics={"baseline": {"f1": 0.91}, "compiled": {"f1": 0.905}},
)
APART = {"agreement": 0.985, "mse": 0.00123456, "max_abs": 0.5}
EXACT = {"agreement": 1.0, "mse": 1e-12, "max_abs": 2.346e-6}
ROWS = (
    Row("bertc, raspberry-pi-5", "its integer reference", "predicted", VALIDATION, APART, None),
    Row("bertc, raspberry-pi-5", "onnxruntime, cortex-a76", "emulated", VALIDATION, APART, EXACT),
    Row(
        "naive: NNCF INT8, openvino",
        "haswell",
        "emulated",
        replace(VALIDATION, compiled=None),
        {"agreement": 0.5, "mse": None, "max_abs": None},
        None,
    ),
)
WHERE = {
    "command": "python -m tools.devices --model minilm",
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"cpu": "A CPU", "cores": 2, "memory_mb": 1, "arch": "x", "os": "linux", "python": "3.11"},
    "versions": {f"package{number}": "1.2.3" for number in range(12)},
    "qemu": "10.0.13",
}


def cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_a_row_for_each_model_and_cpu() -> None:
    head, rule, *rows = cells(page(ROWS, 200, WHERE))
    assert head[:4] == ["model", "where", "evidence", "f1"]
    assert all(set(cell) == {"-"} for cell in rule)
    assert {len(row) for row in rows} == {len(head)}
    assert rows[0][2:] == ["predicted", "0.9050", "98.50%", "0.00123", "", ""]
    assert rows[1][1:] == [
        *("onnxruntime, cortex-a76", "emulated", "0.9050", "98.50%", "0.00123", "100.00%", "2.35e-06"),
    ]
    assert rows[2] == ["naive: NNCF INT8, openvino", "haswell", "emulated", "", "50.00%", "", "", ""]


def test_the_page_says_how_it_was_made_in_lines_that_can_be_read() -> None:
    text = page(ROWS, 200, WHERE)
    assert "The same 200 texts" in text
    assert "    python -m tools.devices --model minilm\n" in text
    assert "QEMU 10.0.13; 2026-01-02." in " ".join(text.split())
    assert "FP32: f1 0.9100.\n" in text
    assert max(map(len, text.splitlines())) <= 140
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 110
    assert "QEMU ;" not in page(ROWS, 200, {**WHERE, "qemu": ""})


def test_without_fp32_there_is_no_line_of_it() -> None:
    row = replace(ROWS[0], validation=replace(VALIDATION, baseline=None))
    assert "FP32: " not in page([row], 8, WHERE)


def own_profile(folder: Path) -> Path:
    text = (files("targets") / "profiles" / "x86-64-avx2.toml").read_text(encoding="utf-8")
    path = folder / "gateway.toml"
    path.write_text(text.replace("x86-64-avx2", "gateway"))
    return path


def compiled_for(subject: Subject, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the compiler is asked for, which then gives up."""
    asked: list[Any] = []

    def give_up(*_: object, **options: Any) -> None:
        asked.append(options["target"])
        raise UsageError("enough", "")

    monkeypatch.setattr(devices, "compile_model", give_up)
    study = Study(Source("m", folder, folder, 8, 1), 8, folder, Clock(Recorder()))
    with pytest.raises(UsageError, match="enough"):
        study.target(subject)
    return asked


@pytest.mark.parametrize("name", ["arm64-generic", "raspberry-pi-5"])
def test_a_target_is_compiled_for_by_its_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    subject = Subject.named(name)
    assert (subject.spec.id, subject.label) == (name, name)
    assert compiled_for(subject, tmp_path, monkeypatch) == [name]


def test_a_profile_is_compiled_for_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own_profile(tmp_path)
    subject = Subject.named(str(path))
    assert (subject.spec.id, subject.label) == ("gateway", "gateway")
    assert compiled_for(subject, tmp_path, monkeypatch) == [str(path)]


def test_the_trap_has_the_full_range_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = full_range(tmp_path)
    assert {each.scheme.weight_qmax for each in subject.spec.runtimes} == {127}
    assert subject.spec.saturates
    assert compiled_for(subject, tmp_path, monkeypatch) == [str(tmp_path / "full-range.toml")]
