"""`--verbose`: what was read, done and chosen."""

from __future__ import annotations

from pathlib import Path

from tests.support.compiling import bertc


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
