"""The import rules between the three packages hold, and the rules do see a breach."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("compiler", "targets", "calibration")
COMMAND = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs import-linter with the project's configuration over the packages in a folder."""
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_rules_hold() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("targets/new.py", "import calibration.data", "compiler is above calibration"),
        ("calibration/new.py", "import compiler", "compiler is above calibration"),
        ("calibration/new.py", "import targets.registry", "calibration knows targets"),
        ("targets/new.py", "import torch", "needs no host package"),
        ("targets/runtime/new.py", "def f():\n    import onnx_ir", "needs no host package"),
        ("targets/bundle/new.py", "import numpy", "standard library alone"),
        ("calibration/new.py", "import onnxruntime", "through a protocol"),
        ("compiler/new.py", "import tests.support.models", "nothing imports tests"),
    ],
)
def test_a_breach_is_seen(tmp_path: Path, module: str, line: str, contract: str) -> None:
    for name in (
        "__init__.py",
        "spec.py",
        "errors.py",
        "registry.py",
        "bundle/__init__.py",
        "runtime/__init__.py",
    ):
        for package in ("targets",) if "/" in name or name in ("spec.py", "registry.py") else PACKAGES:
            path = tmp_path / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    (tmp_path / "calibration" / "data.py").write_text("import targets.spec\nimport targets.errors\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    clean = lint(tmp_path)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    (tmp_path / module).write_text(f"{line}\n")
    done = lint(tmp_path)
    assert done.returncode == 1
    (kept,) = (text for text in done.stdout.splitlines() if " BROKEN" in text)
    assert contract in kept
