"""Tables of module times in a target's profile."""

from __future__ import annotations

import math
from importlib.resources import files

import pytest

from targets.errors import UsageError
from targets.latency import ModuleTimes
from targets.spec import TargetSpec, parse_profile

VNNI = (files("targets") / "profiles" / "x86-64-vnni.toml").read_text(encoding="utf-8")
TABLE = """
[[latency]]
runtime = "onnxruntime"
precision = "int8"
shape = [1, 128]
fixed_ms = 0.5
[latency.modules]
"heads 12x32 of 384" = [[0, 0.0], [6, 0.25], [12, 0.5]]
"ffn 1536x1 of 384" = [[0, 0], [1536, 1]]
"""


def parsed(table: str) -> TargetSpec:
    return parse_profile((VNNI + table).encode(), "test.toml")


def test_a_profile_without_a_table() -> None:
    assert parsed("").latency == ()


def test_a_table() -> None:
    modules = {
        "heads 12x32 of 384": ((0, 0.0), (6, 0.25), (12, 0.5)),
        "ffn 1536x1 of 384": ((0, 0.0), (1536, 1.0)),
    }
    spec = parsed(TABLE)
    assert spec.latency == (ModuleTimes("onnxruntime", "int8", (1, 128), 0.5, modules),)
    assert {spec: 1}[parsed(TABLE)] == 1


def test_several_tables() -> None:
    both = TABLE + TABLE.replace("[1, 128]", "[8, 128]")
    assert [each.shape for each in parsed(both).latency] == [(1, 128), (8, 128)]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("[1, 128]", "[1]", "latency[0].shape must be [batch, tokens]"),
        ("[1, 128]", "[0, 128]", "latency[0].shape must be [batch, tokens]"),
        ("[1, 128]", "[true, 128]", "latency[0].shape must be [batch, tokens]"),
        ("fixed_ms = 0.5", "fixed_ms = -1.0", "latency[0].fixed_ms"),
        ("fixed_ms = 0.5", "fixed_ms = inf", "latency[0].fixed_ms"),
        ("fixed_ms = 0.5", "", "latency[0].fixed_ms is missing"),
        ("precision", "precission", "latency[0].precision is missing"),
        ("[6, 0.25]", "[6, 0.75]", "latency[0].modules.heads 12x32 of 384 must be pairs"),
        ("[6, 0.25]", "[13, 0.25]", "must be pairs of [kept, milliseconds]"),
        ("[[0, 0], [1536, 1]]", "[[1, 0], [1536, 1]]", "latency[0].modules.ffn 1536x1 of 384"),
        ("[[0, 0], [1536, 1]]", "[[0, nan], [1536, 1]]", "must be pairs"),
        ("[[0, 0], [1536, 1]]", "[[0, 0]]", "must be pairs"),
        ("[[0, 0], [1536, 1]]", '"fast"', "must be pairs"),
        ("[[0, 0], [1536, 1]]", "[[0, 0], [1536]]", "must be pairs"),
    ],
)
def test_what_is_no_table(old: str, new: str, problem: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(TABLE.replace(old, new))
    assert problem in caught.value.message


def test_times_are_finite() -> None:
    assert all(math.isfinite(ms) for pairs in parsed(TABLE).latency[0].modules.values() for _, ms in pairs)
