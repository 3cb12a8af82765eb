from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.validate import Validation, not_measured
from compiler.validate.record import gate

KEYS = {
    *("metric", "baseline", "compiled", "delta", "ci95", "agreement", "n", "evidence", "status", "gate"),
    *("labelled", "metrics"),
}


def test_json_is_rounded_and_plain() -> None:
    record = Validation(
        metric="accuracy",
        baseline=0.88654321,
        compiled=0.8865432,
        delta=-1e-8,
        ci95=(-0.0000000001, 1 / 3),
        agreement=0.9912345678,
        n=872,
        evidence="measured",
        status="passed",
        max_drop=0.01,
        labelled=True,
        metrics={"baseline": {"accuracy": 0.88654321}, "compiled": {"accuracy": 2 / 3}},
    ).to_json()
    assert set(record) == KEYS
    assert record["baseline"] == 0.886543
    assert record["ci95"] == [0.0, 0.333333]
    assert record["gate"] == {"max_drop": 0.01}
    assert record["metrics"]["compiled"] == {"accuracy": 0.666667}
    assert "-0.0" not in json.dumps(record, allow_nan=False)


def test_nothing_measured_says_why() -> None:
    record = not_measured("there is no evaluation data").to_json()
    assert set(record) == KEYS | {"reason"}
    assert record["metric"] is None
    assert record["status"] == "not-measured"
    assert record["reason"] == "there is no evaluation data"
    assert record["n"] == 0


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_gate_is_the_largest_drop(baseline: float, compiled: float, max_drop: float) -> None:
    delta = compiled - baseline
    verdict = gate(delta, max_drop)
    if delta >= -max_drop:
        assert verdict == "passed"
    if delta < -max_drop - 1e-8:
        assert verdict == "failed"


def test_a_drop_of_just_the_gate_passes_in_floating_point() -> None:
    assert 0.88 - 0.89 < -0.01
    assert gate(0.88 - 0.89, 0.01) == "passed"


@pytest.mark.parametrize("max_drop", [0.0, 1.0])
def test_not_a_number_fails(max_drop: float) -> None:
    assert gate(math.nan, max_drop) == "failed"
