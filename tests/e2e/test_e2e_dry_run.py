"""`bertc compile --dry-run`: what it says is what a compile then does, and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from compiler.dry_run import HIGH, LOW, CompilePlan
from compiler.estimate import StageEstimate
from targets.bundle.reader import Bundle
from tests.support.compiling import bertc, build

ROOT = Path(__file__).resolve().parents[2]


def checked(out: str) -> dict[str, Any]:
    schema = json.loads((ROOT / "docs" / "schemas" / "dry-run.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    document: dict[str, Any] = json.loads(out)
    Draft202012Validator(schema).validate(document)
    return document


def test_it_says_what_the_compile_does(onnx_model: Path, data: Path, out: Path) -> None:
    argv = ["compile", onnx_model, "-o", out, "--calibration-data", data, "--eval-data", data, "--seed", 3]
    ran = bertc(*argv, "--max-drop", 1, "--ranges", "minmax", "--dry-run", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert not out.exists()
    plan = checked(ran.out)
    built = build(onnx_model, out, calibration_data=data, eval_data=data, seed=3)
    manifest = Bundle.open(built.path).manifest
    (bundle,) = plan["bundles"]
    assert bundle["path"] == str(built.path)
    assert manifest.runtime.backend in bundle["runtimes"]
    assert (bundle["precision"], bundle["evidence"]) == ("int8", "measured")
    assert plan["config"] == manifest.provenance["config"]
    assert plan["data"] == manifest.provenance["data"]
    assert plan["passes"] == manifest.provenance["passes"][: len(plan["passes"])]
    stored = manifest.compression["structure"]["bundle"]
    parts = [stored["embeddings"], *stored["layers"], stored["task_head"]]
    assert bundle["model_bytes"] == pytest.approx(sum(each["bytes"] for each in parts), rel=0.1)
    assert {"calibrating", "evaluating FP32", "validating"} <= {each["stage"] for each in plan["stages"]}


def test_text_for_people(onnx_model: Path, data: Path, out: Path) -> None:
    argv = ["compile", onnx_model, "-o", out, "--calibration-data", data, "--prune-flops", 0.5, "--dry-run"]
    ran = bertc(*argv)
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert "unknown without --eval-data" in lines[2]
    assert "  prune-flops = 0.5" in lines
    assert any(each.split()[:3] == ["pruning", "not", "known:"] for each in lines)
    assert any("more than" in each for each in lines if each.strip().startswith("together"))
    assert lines[-1].startswith("nothing was written")
    assert not out.exists()


def test_what_a_compile_refuses_is_refused(onnx_model: Path, out: Path) -> None:
    argv = ("compile", onnx_model, "-o", out, "--dry-run")
    bertc(*argv).fails(2, "--calibration-data")
    bertc(*argv, "--calibration-data", out / "none.jsonl").fails(2, "none.jsonl")
    bertc(*argv, "--from-manifest", out).fails(2, "--dry-run", "--from-manifest")
    bertc("compile", "--dry-run").fails(2, "MODEL")


def test_a_stage_without_an_estimate_leaves_the_end_open() -> None:
    stages = (StageEstimate("one", 10.0), StageEstimate("two", None, "it depends"))
    plan = CompilePlan("m", "t", 1, (), (), {}, {}, stages, ())
    assert plan.seconds == (10 * LOW, 10 * HIGH)
    assert plan.to_json()["seconds"] == {"low": round(10 * LOW, 1), "high": None}
