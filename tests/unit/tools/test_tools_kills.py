"""tools.kill_compiles: a row for each kill, and an exit code that says whether all is as it should be."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.kills import NOTHING, Row
from tools import kill_compiles

RIGHT = Row(
    seconds=0.5,
    stage="packaging",
    command="onnxruntime --force --keep-debug",
    older=True,
    output="old",
    debug=NOTHING,
    siblings=("bundle.tmp", "debug.tmp"),
    temporary=(),
    again="",
)


@pytest.mark.parametrize(
    ("change", "right"),
    [
        ({}, True),
        ({"output": "new", "debug": "whole"}, True),
        ({"output": NOTHING}, False),
        ({"output": NOTHING, "older": False}, True),
        ({"older": False}, False),
        ({"output": "partial: a file is missing"}, False),
        ({"debug": "partial: nothing in it"}, False),
        ({"again": "it failed"}, False),
    ],
)
def test_what_is_right(monkeypatch: pytest.MonkeyPatch, change: dict[str, object], right: bool) -> None:
    row = replace(RIGHT, **change)  # type: ignore[arg-type]
    assert row.right is right
    seeds = []

    class Killer:
        def __init__(self, *_: object) -> None:
            pass

        def kill(self, kills: int, rng: random.Random) -> Iterator[Row]:
            seeds.append(rng.random())
            yield from [row] * kills

    monkeypatch.setattr(kill_compiles, "Killer", Killer)
    here = str(Path(__file__))
    arguments = ["--model", here, "--data", here, "--kills", "2", "--seed", "7"]
    ran = CliRunner().invoke(kill_compiles.kill_command, arguments)
    assert ran.exit_code == (0 if right else 1), ran.output
    assert "seed 7" in ran.stderr
    lines = ran.stdout.splitlines()
    assert len(lines) == 3
    assert all(lines[1].index(name) == lines[0].index(head) for name, head in (("packaging", "stage"),))
    document = CliRunner().invoke(kill_compiles.kill_command, [*arguments, "--json"]).stdout
    assert [
        Row(**{**each, "siblings": tuple(each["siblings"]), "temporary": ()})
        for each in json.loads(document)["kills"]
    ] == [row, row]
    assert seeds == [random.Random(7).random()] * 2
