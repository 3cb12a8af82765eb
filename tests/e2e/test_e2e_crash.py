"""Compiles that are killed or fill a disk: never a part of a bundle, and the next run goes as any other."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from targets.bundle.paths import MANIFEST_NAME
from tests.support.compiling import TARGET
from tests.support.crashes import DISKS, LIMITS
from tests.support.kills import NOTHING, Moment, Stage, moments, stage_of

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
BUNDLE = f"tiny-{TARGET}.bundle"
WARNING = "the next run computes this again"


@pytest.fixture(scope="module")
def seed() -> int:
    """Of the moments; `BERTC_TEST_SEED` repeats those of a run that failed."""
    chosen = os.environ.get("BERTC_TEST_SEED")
    return random.SystemRandom().randrange(1 << 32) if chosen is None else int(chosen)


@pytest.fixture(scope="module")
def crashes(onnx_model: Path, data: Path, seed: int, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What was left of each."""
    work = tmp_path_factory.mktemp("crashes")
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.crashes", *map(str, (onnx_model, data, work, KILLS, seed))],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
        timeout=600,
    )
    return json.loads(done.stdout)


def test_a_killed_compile_leaves_no_part_of_a_bundle(crashes: Any, seed: int) -> None:
    print(f"BERTC_TEST_SEED={seed}")
    assert len(crashes["kills"]) == KILLS
    for row in crashes["kills"]:
        assert row["output"] in (("old", "new") if row["older"] else (NOTHING, "new")), row
        assert row["debug"] in (NOTHING, "whole"), row
        assert row["debug"] == NOTHING or row["output"] != NOTHING, row


def test_the_next_run_succeeds_and_leaves_nothing_else(crashes: Any, seed: int) -> None:
    print(f"BERTC_TEST_SEED={seed}")
    assert [row for row in crashes["kills"] if row["again"]] == []


def test_it_is_killed_in_every_part_of_a_compile(crashes: Any, seed: int) -> None:
    print(f"BERTC_TEST_SEED={seed}")
    killed = [row["stage"].removeprefix("after ") for row in crashes["kills"]]
    for part in ("reading", "tracing", "rewriting", "calibrating", "lowering", "recording", "packaging"):
        assert [stage for stage in killed if stage.startswith(part)], killed
    commands = {row["command"] for row in crashes["kills"]}
    assert {command.split()[0] for command in commands} == {"onnxruntime", "openvino"}
    assert {"--force" in command for command in commands} == {False, True}
    assert {"--keep-debug" in command for command in commands} == {False, True}


def failed(crashes: Any, name: str) -> dict[str, Any]:
    """What a compile left that failed with one error."""
    found: dict[str, Any] = crashes["disks"][name]
    if "refused" in found:
        pytest.skip(f"needs to mount a small disk: {found['refused']}")
    assert found["code"] == 2, found
    assert [line.partition(":")[0] for line in found["said"]] == ["error", "hint"], found
    assert found["left"]["temporary"] == []
    assert [path for path in found["left"]["cache"] if ".part" in path] == []
    return found


@pytest.mark.parametrize("name", [f"disk: {each}" for each in DISKS if each.startswith(("output", "debug"))])
def test_a_full_disk_at_the_output(crashes: Any, name: str) -> None:
    found = failed(crashes, name)
    assert "out/tiny-" in found["said"][0]
    assert found["said"][0].endswith("No space left on device")
    assert "-o" in found["said"][1]
    left = found["left"]["out"]
    if name == "disk: output with a bundle":
        assert {path.split("/")[0] for path in left} == {BUNDLE}
        assert any(path.startswith(f"{BUNDLE}/{MANIFEST_NAME} ") for path in left)
    else:
        assert left == []


@pytest.mark.parametrize("name", [f"limit: {each}" for each in LIMITS])
def test_a_limit_of_files_at_the_output(crashes: Any, name: str) -> None:
    found = failed(crashes, name)
    assert found["said"][0].endswith("File too large")
    assert found["left"]["out"] == []


@pytest.mark.parametrize("name", [f"disk: {each}" for each in DISKS if each.startswith("temporary")])
def test_a_full_disk_for_temporary_files(crashes: Any, name: str) -> None:
    found = failed(crashes, name)
    assert "the temporary folder" in found["said"][0]
    assert "TMPDIR" in found["said"][1]
    assert found["left"]["out"] == []


def test_a_full_disk_for_the_cache_is_a_warning(crashes: Any) -> None:
    found = crashes["disks"]["disk: cache"]
    if "refused" in found:
        pytest.skip(f"needs to mount a small disk: {found['refused']}")
    assert found["code"] == 0, found
    (warning,) = (line for line in found["said"] if line.startswith("warning:"))
    assert WARNING in warning
    assert found["left"]["cache"] == ["arrays"]
    assert BUNDLE in found["left"]["out"]


def test_moments_are_in_every_stage_and_all_over_the_time() -> None:
    stages = [Stage("short", 0.0, 0.1), Stage("long", 0.1, 10.0), Stage("last", 10.0, 10.1)]
    rng = random.Random(0)
    found = moments(stages, 13, rng)
    assert len(found) == 13
    assert {moment.stage for moment in found} == {0, 1, 2}
    long = sorted(moment.share for moment in found if moment.stage == 1)
    assert len(long) >= 10
    assert max(after - before for before, after in itertools.pairwise(long)) < 0.25
    assert all(0 <= moment.share <= 1 for moment in found)
    assert len(moments(stages, 2, rng)) == 2
    assert moments(stages, 5, random.Random(1)) == moments(stages, 5, random.Random(1))
    assert isinstance(found[0], Moment)


def test_the_stage_of_what_was_told() -> None:
    assert stage_of([]) == "starting"
    assert stage_of([""]) == "starting"
    assert stage_of(["tracing\n"]) == "tracing"
    assert stage_of(["tracing\n", "\n"]) == "after tracing"
    assert stage_of(["tracing\n", "\n", "packaging\n"]) == "packaging"
