"""A compile from bertc.toml."""

from __future__ import annotations

import json
import os
from pathlib import Path

from compiler import compile_model
from compiler.config import read_config
from targets import Bundle
from tests.support.compiling import TARGET, Recorder, bertc


def test_a_file_compiles_what_flags_compile(onnx_model: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    where = {
        key: json.dumps(os.path.relpath(path, folder))
        for key, path in (("model", onnx_model), ("data", data))
    }
    (folder / "bertc.toml").write_text(
        f'model = {where["model"]}\ntarget = "{TARGET}"\noutput = "out"\nruntime = "onnxruntime"\n'
        f"calibration-data = {where['data']}\neval-data = {where['data']}\n"
        'ranges = "minmax"\nmax-drop = 0.5\nsmooth = true\nreport = false\n',
        encoding="utf-8",
    )
    ran = bertc("compile", "--config", folder / "bertc.toml", "--no-smooth", "--max-drop", 1, "--json")
    assert (ran.code, ran.err) == (0, "")
    filed = Bundle.open(folder / "out" / f"tiny-{TARGET}.bundle").manifest
    flagged = bertc(
        *("compile", onnx_model, "-t", TARGET, "-o", tmp_path / "flags", "--runtime", "onnxruntime"),
        *("--calibration-data", data, "--eval-data", data, "--ranges", "minmax", "--max-drop", 1),
        *("--no-smooth", "--no-report", "--json"),
    )
    assert flagged.code == 0, flagged.err
    same = Bundle.open(tmp_path / "flags" / f"tiny-{TARGET}.bundle").manifest
    assert filed.provenance["config"] == same.provenance["config"]
    assert filed.content_digest == same.content_digest
    config = read_config(folder / "bertc.toml")
    done = compile_model(**{**config, "smooth": False, "max_drop": 1.0, "force": True}, progress=Recorder())
    assert done.bundles[0].content_digest == same.content_digest
