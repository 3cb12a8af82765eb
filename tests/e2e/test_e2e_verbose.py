"""`--verbose`, and what a compile prints at its end."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from compiler.cli.console import print_summary
from compiler.result import CompileResult
from tests.support.compiling import Bundles, bertc


def test_what_a_compile_chose_is_told(onnx_model: Path, data: Path, tmp_path: Path) -> None:
    ran = bertc(
        *("compile", onnx_model, "-o", tmp_path, "-v", "--calibration-data", data, "--eval-data", data),
        *("--max-drop", 1, "--runtime", "onnxruntime", "--prune-flops", 0.9, "--precision", "int8"),
        *("--prune-align", 1, "--no-report"),
    )
    assert ran.code == 0, ran.err
    for part in (
        f"  calibration: 24 of 24 rows of {data.name}",
        f"  evaluation: 24 rows of {data.name}",
        "  ranges of linear layers' inputs: ",
        "planned products in INT8 (MatMulIntegerToFloat ",
    ):
        assert part in ran.err


@pytest.mark.parametrize("width", [80, 100])
def test_a_summary_breaks_between_words(bundles: Bundles, width: int) -> None:
    built = bundles("bert", "text-classification", "onnxruntime").result
    role = "layer0.attention_output"
    pruning = {
        "flops_kept": 0.7,
        "flops_removed": 0.3,
        "modules": [{"name": "layer0.ffn", "groups": 9216, "kept": 5632}],
        "tried": [{"expected_speedup": 1.1 + n, "holds": True, "delta": -0.0021} for n in range(5)],
    }
    search = {
        "metric": "accuracy",
        "float": [role] * 9,
        "delta": -0.002,
        "uncertainty": 0.0029,
        "texts": 512,
        "agreement": 0.998,
    }
    quantization = {**built.quantization, "scheme": {"search": search}}
    result = CompileResult((replace(built, pruning=pruning, quantization=quantization),))

    def printed(columns: int) -> list[str]:
        console = Console(
            file=io.StringIO(), width=columns, force_terminal=True, no_color=True, soft_wrap=True
        )
        with console.capture() as captured:
            print_summary(result, console)
        return re.sub(r"\x1b\[[0-9;]*m", "", captured.get()).splitlines()

    def words(lines: list[str]) -> list[str]:
        return [word for line in lines for word in re.split(r"[\s│─┌┐└┘┬┴]+", line) if word]

    whole, narrow = printed(10_000), printed(width)
    assert words(narrow) == words(whole)
    assert len(narrow) > len(whole)
    assert max(map(len, narrow[:-2])) <= width


def test_a_summary_in_a_file_has_a_line_for_each_fact(
    bundles: Bundles, capsys: pytest.CaptureFixture[str]
) -> None:
    built = bundles("bert", "text-classification", "onnxruntime").result
    print_summary(CompileResult((replace(built, differences="one " * 60, reproduces=False),)))
    out = capsys.readouterr().out
    assert "one " * 60 in out
    assert "\x1b" not in out
