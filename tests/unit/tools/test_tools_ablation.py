"""`python -m tools.ablation`: its tables, its page, and one run on a tiny checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from calibration.ranges import METHODS
from compiler.frontend.export import TracedModel
from targets.errors import InternalError, UsageError
from tests.support.lowered import FLOAT_PRODUCTS
from tools import ablation
from tools.ablation_cost import Cost, measure_cost
from tools.ablation_report import Found, Result, cost_table, page, results_table
from tools.peer_report import Score

RESULT = Result(
    "everything",
    {0: Score(0.9, 0.001, 0.995, 0.002), 1: Score(0.9, -0.003, 0.985, 0.004)},
    {0: 10.0, 1: 11.0},
)
COST = Cost(300, 3600, 0.1, 200.0, 400.4, 12.34)
WHERE = {
    "command": "python -m tools.ablation --model minilm",
    "date": "2026-01-02T03:04:05+00:00",
    "machine": {"cpu": "A CPU", "cores": 2, "memory_mb": 1, "arch": "x", "os": "linux", "python": "3.11"},
    "versions": {"numpy": "2.0"},
}
SETTINGS = {
    "model": "minilm",
    "runtime": "onnxruntime",
    "seeds": [0, 1],
    "calibration_samples": 300,
    "threads": 2,
    "texts": 400,
}


TECHNIQUES = ("ranges", "smooth", "shift", "split", "rounding", "bias_correction", "sequential")


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_every_technique_is_left_out_once() -> None:
    full = ablation.EVERYTHING
    changed = {
        each.name: {name for name in TECHNIQUES if getattr(each.options, name) != getattr(full, name)}
        for each in ablation.VARIANTS
    }
    assert len(changed) == len(ablation.VARIANTS) == 10 + len(METHODS)
    assert changed["everything"] == changed["half range, everything"] == set()
    assert changed["no shift"] == {"shift"}
    assert changed["no smoothing"] == {"smooth", "shift"}
    assert changed["no outlier splitting"] == {"split"}
    assert changed["layers one by one, not in sequence"] == {"sequential"}
    assert changed["nearest rounding, no GPTQ"] == {"rounding"}
    assert changed["no bias correction"] == {"bias_correction"}
    assert all(changed[f"ranges: {method}"] == {"ranges"} for method in METHODS)
    assert len(changed["nothing"]) == len(changed["half range, nothing"]) == len(TECHNIQUES)
    assert [each.name for each in ablation.VARIANTS if each.qmax == 64] == [
        "half range, everything",
        "half range, nothing",
    ]


def test_means_and_the_worst_seed_are_shown() -> None:
    head, _, row = cells(results_table([RESULT]))
    assert head == ["quantization", "drop, points", "agreement, %", "MSE", "quantized in, s"]
    assert row == ["everything", "-0.10 (0.10)", "99.00 (98.50)", "3.00e-03 (4.00e-03)", "10.5"]
    once = Result("once", {0: Score(0.9, -0.0, None, 0.5)}, {0: 1.0})
    assert cells(results_table([once]))[2] == ["once", "0.00", "", "5.00e-01", "1.0"]


def test_the_page() -> None:
    found = Found(WHERE, SETTINGS, 0.875, (RESULT,), (COST,))
    text = page(found, "accuracy")
    assert results_table([RESULT]) in text
    assert cells(cost_table([COST]))[2] == ["300", "3600", "0.1", "200", "400", "12.3"]
    assert cost_table([COST]) in text
    assert "python -m tools.ablation --model minilm\n" in text
    assert "with seeds 0, 1," in text
    assert "one evaluation text is 0.25 points" in " ".join(text.split())
    assert "2026-01-02." in text
    assert "/" not in text
    assert all(len(line) <= 120 for line in text.splitlines())
    assert "## Memory" not in page(Found(WHERE, SETTINGS, None, (RESULT,)), "accuracy")
    document = json.loads(found.to_json())
    assert document["results"][0]["scores"]["1"]["agreement"] == 0.985
    assert document["costs"][0]["peak_mb"] == 400.4


def test_seeds_and_the_command() -> None:
    assert ablation.seeds_of("2, 0,2") == (2, 0)
    for text in ("", "0,a", "-1", "1,"):
        with pytest.raises(UsageError, match="--seeds"):
            ablation.seeds_of(text)
    command = ablation.command_of(["--model", "/a/b/minilm", "--docs=/c/ablation.md", "--seeds=0"])
    assert command == "python -m tools.ablation --model minilm --docs=ablation.md --seeds=0"


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_one_run(
    checkpoint: Callable[..., Path],
    task_data: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    runtime: str,
) -> None:
    kept = ("everything", "nothing", "half range, everything")
    monkeypatch.setattr(ablation, "VARIANTS", [each for each in ablation.VARIANTS if each.name in kept])
    data = str(task_data("text-classification"))
    command = ["--model", str(checkpoint()), "--calibration-data", data, "--eval-data", data]
    command += ["--samples", "12", "--calibration-samples", "8", "--runtime", runtime, "--threads", "1"]
    command += ["--seeds", "0,1", "--json", str(tmp_path / "found.json"), "--docs", str(tmp_path / "page.md")]
    if runtime == "onnxruntime":
        monkeypatch.setattr(ablation, "COST_SAMPLES", (8,))
        command.append("--cost")
    done = CliRunner().invoke(ablation.ablation_command, command, catch_exceptions=False)
    assert done.exit_code == 0
    document = json.loads((tmp_path / "found.json").read_text())
    assert [each["name"] for each in document["results"]] == list(kept)
    for each in document["results"]:
        assert each["scores"].keys() == each["seconds"].keys() == {"0", "1"}
        assert all(0 < score["mse"] < 0.1 for score in each["scores"].values())
        assert all(seconds >= 0 for seconds in each["seconds"].values())
    assert (document["runtime"], document["texts"]) == (runtime, 12)
    assert [each["texts"] for each in document["costs"]] == [8] * (runtime == "onnxruntime")
    text = (tmp_path / "page.md").read_text()
    assert ("## Memory and time" in text) == (runtime == "onnxruntime")
    assert str(tmp_path) not in text.split("python -m")[0]
    rows = [line[0] for line in cells(done.stdout) if line]
    assert set(kept) <= set(rows)


def test_a_page_needs_the_ablation(tmp_path: Path) -> None:
    command = ["--model", "m", "--calibration-data", "c", "--eval-data", "e", "--cost-only", "--docs"]
    with pytest.raises(UsageError, match="the page needs the ablation"):
        CliRunner().invoke(
            ablation.ablation_command, [*command, str(tmp_path / "p.md")], catch_exceptions=False
        )


def test_a_process_that_fails_says_why(traced: Callable[..., TracedModel], tmp_path: Path) -> None:
    with pytest.raises(InternalError, match="the measured process failed"):
        measure_cost(traced().model, [], FLOAT_PRODUCTS, tmp_path)
