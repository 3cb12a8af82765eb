"""What can be asked of pruning, and the flags that refusals name."""

from __future__ import annotations

import re
from typing import Any

import pytest

from compiler.options import CompileOptions
from targets.errors import UsageError


def options(**given: Any) -> CompileOptions:
    return CompileOptions(calibration_data="texts.txt", **given)


def refusal(asked: CompileOptions) -> UsageError:
    with pytest.raises(UsageError) as caught:
        asked.check()
    assert caught.value.hint
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"prune_speedup": 1.5},
        {"prune_speedup": 1.001},
        {"prune_speedup": 100.0},
        {"prune": "auto"},
        {"prune_flops": 0.5},
        {"prune_flops": 1.0},
        {"prune_speedup": 2.0, "prune_shape": (8, 128)},
        {"prune_shape": (1, 1)},
        {"prune": "auto", "prune_targets": ("ffn",), "prune_align": 1},
    ],
)
def test_what_can_be_meant(given: dict[str, Any]) -> None:
    options(**given).check()


@pytest.mark.parametrize("times", [1.0, 0.5, 0.0, -2.0, float("inf"), float("nan")])
def test_a_speed_up_that_is_none(times: float) -> None:
    error = refusal(options(prune_speedup=times))
    assert error.message.startswith(f"--prune-speedup {times:g} ")
    assert "above 1" in error.hint


@pytest.mark.parametrize("choice", ["none", "", "Auto", "0.5"])
def test_a_choice_that_is_not_known(choice: Any) -> None:
    error = refusal(options(prune=choice))
    assert error.message.startswith(f"--prune {choice!r} ")
    assert "auto" in error.hint


@pytest.mark.parametrize("shape", [(0, 128), (1, 0), (-1, 128), (8, -1)])
def test_a_shape_without_texts_or_tokens(shape: tuple[int, int]) -> None:
    error = refusal(options(prune_speedup=1.5, prune_shape=shape))
    assert error.message.startswith(f"--prune-shape {shape[0]}x{shape[1]} ")
    assert "1x128" in error.hint


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        ({"prune_flops": 0.5, "prune_speedup": 1.5}, "--prune-flops and --prune-speedup"),
        ({"prune_flops": 0.5, "prune": "auto"}, "--prune-flops and --prune"),
        ({"prune_speedup": 1.5, "prune": "auto"}, "--prune-speedup and --prune"),
        (
            {"prune_flops": 0.5, "prune_speedup": 1.5, "prune": "auto"},
            "--prune-flops and --prune-speedup and --prune",
        ),
    ],
)
def test_two_budgets_at_once_are_named(given: dict[str, Any], flags: str) -> None:
    error = refusal(options(**given))
    assert re.fullmatch(f"{flags} are [23] budgets", error.message)
    assert "one of them" in error.hint


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01])
def test_a_share_that_is_none(share: float) -> None:
    assert refusal(options(prune_flops=share)).message.startswith(f"--prune-flops {share} ")


@pytest.mark.parametrize("given", [{"prune_speedup": 1.5}, {"prune": "auto"}, {"prune_flops": 0.5}])
def test_every_budget_needs_text(given: dict[str, Any]) -> None:
    error = refusal(CompileOptions(precision="fp32", **given))
    assert "pruning needs text" in error.message
    assert "--calibration-data" in error.hint


def test_no_budget_needs_no_text() -> None:
    CompileOptions(precision="fp32").check()
    CompileOptions(precision="fp32", prune_flops=1.0, prune_shape=(8, 64)).check()


@pytest.mark.parametrize(
    ("given", "pruned", "searched"),
    [
        ({}, False, False),
        ({"prune_flops": 1.0}, False, False),
        ({"prune_flops": 0.9}, True, False),
        ({"prune_speedup": 1.5}, True, False),
        ({"prune": "auto"}, True, True),
        ({"precision": "auto"}, False, True),
    ],
)
def test_what_is_pruned_and_what_is_searched(given: dict[str, Any], pruned: bool, searched: bool) -> None:
    asked = options(**given)
    assert (asked.pruned, asked.searched) == (pruned, searched)


@pytest.mark.parametrize(
    ("given", "flag"),
    [
        ({"prune_targets": ()}, "--prune-targets"),
        ({"prune_targets": ("heads", "layers")}, "--prune-targets"),
        ({"prune_align": 0}, "--prune-align"),
        ({"prune_samples": 7}, "--prune-samples"),
    ],
)
def test_other_flags_of_pruning_are_named(given: dict[str, Any], flag: str) -> None:
    assert refusal(options(prune_speedup=1.5, **given)).message.startswith(f"{flag} ")
