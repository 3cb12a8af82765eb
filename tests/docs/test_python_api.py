"""The code of docs/python-api.md, run in order in a folder that has what it names."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import compiler
from tests.support.compiling import Checkpoints, Data, require_target, traced_once
from tests.support.pages import blocks


def test_the_page(
    checkpoint: Checkpoints,
    task_data: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    require_target()
    shutil.copytree(checkpoint(layers=1), tmp_path / "checkpoint")
    for name in ("train.jsonl", "dev.jsonl"):
        shutil.copy(task_data(), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    with traced_once():
        for code in blocks("python-api.md", "python"):
            exec(compile(code, "python-api.md", "exec", dont_inherit=True), names)
    assert names["again"].bundles[0].reproduces is True
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert sorted(names["outputs"]) == ["logits"]
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("2 nowhere.bundle does not exist")


def test_everything_public_is_there() -> None:
    for name in compiler.__all__:
        assert getattr(compiler, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = compiler.nothing
