"""Validation of a bundle needs no package of the host."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CODE = """
import sys
for name in "torch transformers onnx onnx_ir onnxscript onnxruntime openvino rich pyarrow".split():
    sys.modules[name] = None
import compiler.validate
print(sorted(compiler.validate.__all__))
"""


def test_it_imports_without_the_host_packages() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "make_evaluator" in done.stdout
