"""write_bundle killed at every step: a bundle is complete or not there, and the next run cleans up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from targets.bundle import atomic_dir
from tests.support.bundles import FILES, write_sample
from tests.support.package_kills import CASES

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def kills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What was left, by case."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.package_kills", str(tmp_path_factory.mktemp("kills"))],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=300,
    )
    rows = json.loads(done.stdout)
    return {case: [row for row in rows if row["case"] == case] for case in CASES}


def left(rows: list[dict[str, Any]]) -> list[str]:
    """What was at the output and beside it, each once, in the order of the steps."""
    return list(dict.fromkeys(" ".join((row["output"], *row["siblings"])) for row in rows))


def before(rows: list[dict[str, Any]], call: str) -> list[str]:
    return [row["before"] for row in rows if row["before"].startswith(call)]


def test_it_is_killed_at_every_step(kills: dict[str, list[dict[str, Any]]]) -> None:
    for rows in kills.values():
        assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
        assert {row["before"].split()[0] for row in rows} >= {"fsync", "os.mkdir", "open"}
        assert len(before(rows, "open bundle.json")) == 1
        assert len(before(rows, "fsync")) == 13
    assert before(kills["new"], "os.rename") == ["os.rename .a.tmp-* a"]
    assert before(kills["replaced"], "renameat2") == ["renameat2"]
    assert before(kills["replaced in steps"], "os.rename") == [
        "os.rename a .a.old-*",
        "os.rename .a.tmp-* a",
        "os.rename .a.old-* .a.tmp-*",
    ]


def test_there_is_never_a_part_of_a_bundle(kills: dict[str, list[dict[str, Any]]]) -> None:
    assert left(kills["new"]) == ["nothing", "nothing tmp", "new"]
    assert left(kills["replaced"]) == ["old", "old tmp", "new tmp", "new"]


def test_without_an_exchange_of_names_there_is_nothing_for_a_moment(
    kills: dict[str, list[dict[str, Any]]],
) -> None:
    done = ["new old", "new tmp", "new"]
    assert left(kills["replaced in steps"]) == ["old", "old tmp", "nothing old tmp", *done]
    between = [row["before"] for row in kills["replaced in steps"] if row["output"] == "nothing"]
    assert between == ["os.rename .a.tmp-* a"]
    assert left(kills["after a kill between the steps"]) == ["nothing old tmp", "old tmp", "old", *done]


def test_the_next_run_removes_what_was_left_and_succeeds(kills: dict[str, list[dict[str, Any]]]) -> None:
    wrong = [row for rows in kills.values() for row in rows if row["next"]]
    assert wrong == []


def test_what_was_replaced_is_removed_when_the_new_name_is_on_the_disk(
    kills: dict[str, list[dict[str, Any]]],
) -> None:
    for case, last in (("replaced", "renameat2"), ("replaced in steps", "os.rename .a.old-* .a.tmp-*")):
        calls = [row["before"] for row in kills[case]]
        after = calls[calls.index(last) + 1 :]
        assert after[0] == "fsync"
        assert {call.split()[0] for call in after[1:]} == {"os.remove", "os.rmdir"}


def test_everything_is_synced_before_the_name_and_then_every_folder_that_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        calls.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(tmp_path).as_posix())
        fsync(descriptor)

    def renamed(source: Path, output: Path) -> None:
        calls.append("rename")
        rename(source, output)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(atomic_dir, "new_name", lambda parent, prefix: parent / f"{prefix}0")
    monkeypatch.setattr("targets.temporary.new_name", lambda parent, prefix: parent / f"{prefix}0")
    write_sample(tmp_path / "x/y/a")
    staging = "x/y/.a.tmp-0"
    folders = ("licenses", "model", "report", "tokenizer")
    inside = [*sorted(FILES), *folders, "SHA256SUMS", "bundle.json"]
    names = [*(f"{staging}/{each}" for each in inside), staging]
    assert calls == [*names, "rename", "x/y", ".", "x"]
