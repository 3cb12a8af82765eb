"""`python -m tools.compare_peers`: its tables, its makers, and one comparison on a tiny model."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.progress import Clock
from targets.errors import UsageError
from tests.support.compiling import Recorder, require_target
from tools import compare_peers, make_peer, peers_run
from tools.contestants import BASELINE, Contestant, Source
from tools.measure import mean_squared_error
from tools.peer_report import Comparison, Quantized, Score, Tried, page, seeds_table, tables, variants_table
from tools.peers.request import Request, load_feeds, save_feeds
from tools.peers_run import PeersRun, Plan
from tools.recipes import KEYS, RECIPES, Recipe, Variant

SCORES = {0: Score(0.88, 0.01, 0.99, 0.02), 1: Score(0.9, -0.01, 0.97, 0.04)}
PEER = Quantized(
    "a peer",
    "good",
    SCORES,
    (Tried("good", SCORES[0]), Tried("bad", SCORES[1]), Tried("broken", None, "no")),
    {"nncf": "3.4.0"},
)


def cells(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


def test_feeds_survive_their_file(tmp_path: Path) -> None:
    feeds = [
        {"input_ids": np.full((1, n), n), "attention_mask": np.ones((1, n), np.int64)} for n in range(2, 14)
    ]
    save_feeds(tmp_path / "feeds.npz", feeds)
    found = load_feeds(tmp_path / "feeds.npz")
    assert [each["input_ids"].shape for each in found] == [(1, n) for n in range(2, 14)]
    assert all(set(each) == {"input_ids", "attention_mask"} for each in found)


def test_the_error_is_over_all_real_answers() -> None:
    before = {"logits": np.array([[1.0, 2.0]], np.float32), "classes": np.array([1])}
    after = {"logits": np.array([[1.5, 2.0]], np.float32), "classes": np.array([0])}
    assert mean_squared_error(before, after) == 0.125
    assert mean_squared_error({"spans": np.array([[0, 3]])}, {"spans": np.array([[0, 4]])}) is None


def test_means_and_each_seed_are_shown() -> None:
    mean = PEER.mean()
    assert mean.drop == pytest.approx(0)
    assert mean.agreement == pytest.approx(0.98)
    assert mean.mse == pytest.approx(0.03)
    once = Quantized("once", "", {0: Score(0.9, 0.002, None, None)})
    head, _, peer, other = cells(seeds_table([PEER, once]))
    assert head == ["quantizer", "seeds", "drop, points", "agreement, %", "MSE"]
    assert peer == ["a peer", "0, 1", "0.00 (1.00, -1.00)", "98.00 (99.00, 97.00)", "0.03 (0.02, 0.04)"]
    assert other == ["once", "-", "0.20", "", ""]


def test_the_kept_variant_is_in_bold() -> None:
    assert [line[1:] for line in cells(variants_table([PEER]))[2:]] == [
        ["**good**", "1.00", "99.00", "0.02"],
        ["bad", "-1.00", "97.00", "0.04"],
        ["broken", "failed", "", ""],
    ]


def test_the_squared_error_decides_and_then_the_agreement() -> None:
    assert Score(0.9, 0.0, 0.9, 0.1).loss < Score(0.9, 0.0, 0.99, 0.2).loss
    assert Score(0.9, 0.0, 0.99, None).loss < Score(0.9, 0.0, 0.9, None).loss


def test_options_that_mean_nothing_are_refused() -> None:
    assert compare_peers._seeds("2,0,2") == (2, 0)
    assert compare_peers.interpreters(["nncf=/x/python"]) == {"nncf": "/x/python"}
    for text in ("", "0,a", "-1"):
        with pytest.raises(UsageError, match="--seeds"):
            compare_peers._seeds(text)
    for pair in ("nncf", "nncf=", "other=/x/python"):
        with pytest.raises(UsageError, match="--peer-python"):
            compare_peers.interpreters([pair])


def test_the_command_names_files_and_no_folders() -> None:
    command = compare_peers.command_line(
        "tools.compare_peers", ["--model", "/a/b/minilm", "--peer-python", "nncf=/x/bin/python", "--rounds=9"]
    )
    assert command == "python -m tools.compare_peers --model minilm --peer-python nncf=python --rounds=9"


def test_a_missing_peer_says_how_to_get_it(tmp_path: Path) -> None:
    recipe = Recipe(
        "Some peer", "some", "openvino", "x", "x", "no_such_package", "pip install it", "export", True, ()
    )
    with pytest.raises(make_peer.PeerError, match=r"Some peer: .*no_such_package.*pip install it"):
        make_peer.require(recipe, sys.executable)
    with pytest.raises(make_peer.PeerError, match="no interpreter"):
        make_peer.require(recipe, str(tmp_path / "python"))
    broken = Variant("v", {"method": "static"})
    with pytest.raises(make_peer.PeerError, match=r"dynamic \(v\): "):
        make_peer.make(RECIPES[1], broken, sys.executable, tmp_path / "none.onnx", None, tmp_path / "out")


@pytest.mark.parametrize("module", sorted({each.module for each in RECIPES}))
def test_makers_load_without_the_project_s_packages(module: str) -> None:
    """They run in environments that have numpy and the peer alone."""
    script = f"""
import sys
for name in ("torch", "transformers", "onnx_ir", "click", "tokenizers"):
    sys.modules[name] = None
import {module}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_one_comparison(
    checkpoint: Callable[..., Path],
    task_data: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Real models of torch, onnxruntime and OpenVINO; a peer that is not installed is told of."""
    require_target()
    data = task_data("text-classification")
    _, dynamic, static = (each for each in RECIPES if each.key == "onnxruntime")
    # The percentile of texts of several lengths is what onnxruntime needs a stride for.
    kept = (_with(dynamic, dynamic.variants[:2]), _with(static, static.variants[1:2]))
    absent = Recipe(
        "Absent", "nncf", "openvino", "x", "x", "no_such_package", "pip install it", "export", True, ()
    )
    monkeypatch.setattr(peers_run, "RECIPES", (*kept, absent))
    monkeypatch.setattr(peers_run, "bundle_contestants", _no_bundles)
    monkeypatch.setattr(peers_run, "BUNDLE_RUNTIMES", ())
    source = Source(str(checkpoint()), data, data, 8, 1)
    plan = Plan((0, 1), KEYS, {}, 5, 5)
    recorder = Recorder()
    found = PeersRun(source, plan, tmp_path, Clock(recorder)).run()

    names = [each.name for each in found.rows]
    assert names[0] == BASELINE
    assert {"torch BF16", "OpenVINO FP32", "OpenVINO BF16", *(each.name for each in kept)} < set(names)
    by_name = {each.name: each for each in found.rows}
    assert by_name[BASELINE].mse == 0
    assert by_name["OpenVINO FP32"].mse == pytest.approx(0, abs=1e-8)
    assert 0 < (by_name["torch BF16"].mse or 0) < 0.01
    assert all(each.texts is not None and each.texts.texts == 5 for each in found.rows)
    assert all(each.latency and each.latency[0].p50_ms > 0 for each in found.rows)
    assert [list(each.seeds) for each in found.quantized] == [[0], [0, 1]]
    for each in found.quantized:
        scores = [tried.score for tried in each.tried]
        assert all(score is not None and 0 < (score.mse or 0) < 1 for score in scores)
        assert each.seeds[0].loss == min(score.loss for score in scores if score is not None)
    assert len(found.skipped) == 1
    assert "pip install it" in found.skipped[0]
    assert any("left out: Absent" in line for line in recorder.warnings)
    _check_report(found)


def _with(recipe: Recipe, variants: tuple[Variant, ...]) -> Recipe:
    return dataclasses.replace(recipe, variants=variants)


def _no_bundles(*_: Any, **__: Any) -> list[Contestant]:
    return []


def _check_report(found: Comparison) -> None:
    where = {"command": "python -m tools.compare_peers", "versions": {}}
    settings = {"seeds": [0, 1], "calibration_samples": 8, "rounds": 5, "threads": 1}
    document = json.loads(found.to_json(where, settings))
    assert [each["name"] for each in document["rows"]] == [each.name for each in found.rows]
    assert document["quantized"][1]["seeds"].keys() == {"0", "1"}
    assert document["quantized"][1]["versions"]["onnxruntime"]
    text = page(found, where, settings, "A CPU")
    assert tables(found).splitlines()[0] in text
    assert "## Not measured" in text
    assert "onnxruntime INT8, static: made with onnxruntime" in text


def test_a_request_survives_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tools.peers import request

    asked = Request(tmp_path / "m.onnx", None, tmp_path, {"method": "float"})
    asked.write(tmp_path / "r.json")
    monkeypatch.setattr(sys, "argv", ["maker", str(tmp_path / "r.json")])
    assert request.requested() == asked
    with pytest.raises(SystemExit, match="calibration"):
        asked.calibration()
