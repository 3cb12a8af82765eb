"""tools.check_device_install: sizes of packages, and what the check refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from tools import check_device_install
from tools.device_commands import forbidden, sample_text
from tools.emulated_install import Device, package_sizes, pip_lines, run_commands, size_lines

BUNDLE = Path("x.bundle")


def package(site: Path, name: str, files: dict[str, int]) -> None:
    info = site / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
    for path, size in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(b"x" * size)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in [*files, f"{name}/gone.py"]))


def test_sizes_are_of_the_files_that_a_package_says_it_has(tmp_path: Path) -> None:
    package(tmp_path, "small", {"small/a.py": 10, "small/a.pyc": 500})
    package(tmp_path, "large", {"large/b.so": 3_000_000, "large.libs/c.so": 2_000_000})
    assert package_sizes(tmp_path) == {"small 1.0": 10, "large 1.0": 5_000_000}
    lines = [line.split() for line in size_lines(tmp_path)]
    assert lines[0] == ["large", "1.0", "5.00", "MB"]
    assert lines[-1][0] == "together"
    assert float(lines[-1][1]) > 5.0


def test_every_class_of_devices_has_its_line() -> None:
    told = "\n".join(pip_lines())
    assert "onnxruntime on arm64-generic, raspberry-pi-4, raspberry-pi-5:" in told
    for file in ("aarch64-onnxruntime", "x86_64-onnxruntime", "x86_64-openvino"):
        assert f"--require-hashes --only-binary=:all: -r targets/requirements/{file}.txt" in told
    assert "rtx" not in told


def test_what_a_device_must_not_have() -> None:
    assert "openvino" in forbidden("onnxruntime")
    assert "onnxruntime" not in forbidden("onnxruntime")
    assert {"torch", "onnx", "rich"} <= set(forbidden("openvino"))


def test_each_task_has_a_text(tmp_path: Path) -> None:
    assert sample_text(tmp_path, "text-classification") == ["--text", "a gripping film"]
    assert "--text-pair" in sample_text(tmp_path, "question-answering")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "special_tokens_map.json").write_text(json.dumps({"mask_token": "[MASK]"}))
    assert sample_text(tmp_path, "fill-mask")[1].endswith(" [MASK]")


class Told:
    """A device whose commands answer as they are told to."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {
            "run": {"text": "a gripping film", "label": "positive"},
            "bench": {"shapes": [{"batch": 1, "length": 32, "p50_ms": None}]},
            **answers,
        }

    def bertc(self, command: str, *_: object) -> Any:
        return self.answers.get(command, {"ok": True})

    def python(self, *arguments: object) -> Any:
        return self.answers[str(arguments[2])]


def test_all_commands_and_no_times(capsys: pytest.CaptureFixture[str]) -> None:
    run_commands(cast(Device, Told()), BUNDLE, "text-classification")
    told = capsys.readouterr().out
    for command in ("check-device", "verify", "selftest", "run", "bench"):
        assert f"  {command:<12} ok" in told
    assert " ms" not in told
    assert "'a gripping film' is positive" in told


@pytest.mark.parametrize(
    "answers", [{"selftest": {"ok": False}}, {"bench": {"shapes": []}}, {"run": {"text": ""}}], ids=str
)
def test_what_is_refused(answers: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="error: "):
        run_commands(cast(Device, Told(**answers)), BUNDLE, "text-classification")


def test_an_error_has_its_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_device_install.main(["--emulate", "raspberry-pi-5", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("error: ")
