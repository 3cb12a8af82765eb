"""What docs/adding-a-pass.md and docs/adding-a-target.md tell people to write."""

from __future__ import annotations

import re
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest

from targets.bundle.reader import Bundle
from targets.registry import get_target
from tests.support.compiling import Checkpoints, Data, bertc, build
from tests.support.graphs import parse, run_pass
from tests.support.pages import ROOT, blocks


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """The names that the blocks of the page about passes define, each a module's as it would be."""
    module = ModuleType("drop_mul_by_one")
    for code in blocks("adding-a-pass.md", "python"):
        exec(compile(code, "adding-a-pass.md", "exec", dont_inherit=True), vars(module))
    return vars(module)


def names_of_tests() -> list[str]:
    return re.findall(r"^def (test_\w+)", "".join(blocks("adding-a-pass.md", "python")), re.MULTILINE)


@pytest.mark.parametrize("name", names_of_tests())
def test_the_tests_of_the_page(page: dict[str, Any], name: str) -> None:
    test = page[name]
    assert isinstance(test, FunctionType)
    test()


def test_there_are_tests() -> None:
    assert len(names_of_tests()) == 3


def test_what_would_widen_stays(page: dict[str, Any]) -> None:
    model = parse(
        "g (float[1, 4] x, float[2, 1] one) => (float[2, 4] y) { [n0] a = Mul(x, one) [n1] y = Add(a, x) }",
        {"one": np.ones((2, 1), np.float32)},
    )
    result = run_pass(page["DropMulByOne"](), model, {"x": np.ones((1, 4), np.float32)})
    assert not result.modified
    assert [each.reason for each in result.declined] == ["it may widen what it multiplies"]


def test_the_target_of_the_page(checkpoint: Checkpoints, task_data: Data, tmp_path: Path) -> None:
    (profile,) = blocks("adding-a-target.md", "toml")
    path = tmp_path / "plant-gateway.toml"
    path.write_text(profile, encoding="utf-8")
    assert get_target(str(path)).id == "plant-gateway"
    shown = bertc("targets", "show", path)
    assert shown.code == 0, shown.err
    assert "plant-gateway" in shown.out
    data = task_data()
    built = build(checkpoint(layers=1), tmp_path, target=str(path), calibration_data=data, eval_data=data)
    manifest = Bundle.open(built.path).manifest
    assert (manifest.target.id, manifest.runtime.backend) == ("plant-gateway", "onnxruntime")


def test_files_that_the_pages_name_are_there() -> None:
    for name in ("adding-a-pass.md", "adding-a-target.md", "how-it-works.md"):
        text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        paths = re.findall(r"`((?:compiler|targets|tests|calibration)/[\w/.]+)`", text)
        assert paths
        missing = [path for path in paths if not (ROOT / path).exists() and "drop_mul_by_one" not in path]
        assert not missing
