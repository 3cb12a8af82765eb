"""`python -m tools.prune_study`: its tables, its page, and one run on a tiny checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from compiler.latency import Ratio
from compiler.validate import Validation
from targets.errors import UsageError
from tests.support.data import classification_rows, write_rows
from tools.prune_report import Cell, Found, Timing, accuracy_table, fidelity_table, page, timing_table
from tools.prune_study import METHOD, METHODS, budgets_of, study_command


def validation(delta: float) -> Validation:
    return Validation(
        metric="accuracy", baseline=0.9, compiled=0.9 + delta, delta=delta, ci95=None, agreement=1.0 + delta,
        n=100, evidence="measured", status="passed", max_drop=1.0, labelled=True, metrics={},
    )  # fmt: skip


def cell(method: str, seed: int, budget: float, delta: float, int8: float | None = None) -> Cell:
    made = None if int8 is None else validation(int8)
    return Cell(method, seed, budget, 1 / budget, validation(delta), made, 10.0, {"layer0.heads": seed})


CELLS = (
    cell(METHOD, 0, 1.5, -0.01, -0.02),
    cell(METHOD, 0, 2.0, -0.03, -0.03),
    cell(METHOD, 1, 1.5, 0.01, 0.0),
    cell(METHOD, 1, 2.0, -0.05, -0.07),
    cell("magnitude", 0, 1.5, -0.2),
    cell("magnitude", 0, 2.0, -0.4),
)
TIMINGS = (Timing(2.0, 8, 128, 50.0, 30.0, Ratio(5 / 3, 1.6, 1.7)),)
WHERE = {
    "command": "python -m tools.prune_study --model minilm",
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"cpu": "A CPU", "cores": 2, "memory_mb": 1, "arch": "x", "os": "linux", "python": "3.11"},
    "versions": {"numpy": "2.0"},
}
SETTINGS = {
    "model": "minilm", "texts": 100, "metric": "accuracy", "seeds": [0, 1], "prune_samples": 512,
    "runtime": "openvino",
}  # fmt: skip


def rows(table: str) -> list[list[str]]:
    return [[each.strip() for each in line.split("|")[1:-1]] for line in table.splitlines()]


def test_drops_are_means_with_the_worst_seed() -> None:
    head, _, *found = rows(accuracy_table(CELLS))
    assert head == ["drop, points", "1.5x fewer FLOPs", "2x fewer FLOPs"]
    assert found == [
        [f"{METHOD}, FP32", "0.00 (1.00)", "4.00 (5.00)"],
        [f"{METHOD}, INT8", "1.00 (2.00)", "5.00 (7.00)"],
        ["magnitude, FP32", "20.00 (20.00)", "40.00 (40.00)"],
    ]


def test_agreement_is_the_mean_with_the_least() -> None:
    assert rows(fidelity_table(CELLS))[2][1:] == ["100.00 (99.00)", "96.00 (95.00)"]


def test_times_are_beside_the_ratio_of_flops() -> None:
    assert rows(timing_table(TIMINGS))[2] == [
        "8x128", "2x fewer", "50.00", "30.00", "1.67x", "1.60 to 1.70", "0.83",
    ]  # fmt: skip


def test_the_page_has_the_command_and_every_table() -> None:
    found = Found(WHERE, SETTINGS, 0.9, CELLS, TIMINGS)
    text = page(found)
    assert "    python -m tools.prune_study --model minilm" in text
    assert "numpy 2.0; 2026-01-02." in text
    assert found.tables() in text
    assert json.loads(found.to_json())["cells"][0]["fp32"]["delta"] == -0.01


def test_each_simpler_way_differs_from_the_method() -> None:
    assert next(iter(METHODS)) == METHOD
    assert len(set(METHODS.values())) == len(METHODS)


def test_budgets() -> None:
    assert budgets_of("2,1.25") == (1.25, 2.0)
    for text in ("1", "a", "0.5,2", ""):
        with pytest.raises(UsageError, match="--budgets"):
            budgets_of(text)


@pytest.mark.parametrize("only", [True, False])
def test_a_run(checkpoint: Callable[..., Path], tmp_path: Path, only: bool) -> None:
    texts = write_rows(tmp_path / "texts.jsonl", classification_rows(64))
    docs, document = tmp_path / "page.md", tmp_path / "found.json"
    argv = ["--model", checkpoint(), "--calibration-data", texts, "--eval-data", texts, "--samples", 32]
    argv += ["--prune-samples", 32, "--budgets", "2", "--seeds", "0", "--turns", 5, "--threads", 1]
    argv += ["--json", document, "--docs", docs, *(["--only"] if only else [])]
    ran = CliRunner().invoke(study_command, [str(each) for each in argv], catch_exceptions=False)
    assert ran.exit_code == 0
    found = json.loads(document.read_text())
    assert [each["method"] for each in found["cells"]] == ([METHOD] if only else list(METHODS))
    assert all(0 < each["flops_kept"] <= 0.5 for each in found["cells"])
    assert [each["int8"] is not None for each in found["cells"]] == [name == METHOD for name in METHODS][
        : len(found["cells"])
    ]
    assert len(found["timings"]) == 3
    assert docs.read_text().startswith("# Pruning ")
