"""The pinned requirements of devices, and `bertc targets requirements`."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from pathlib import Path

import pytest

from targets.cli import device_group
from targets.cli_errors import main_guard
from targets.errors import UsageError
from targets.pins import PIP, device_pins
from targets.registry import get_target, list_targets
from targets.spec import GPU_RUNTIMES, RuntimeProfile, TargetSpec

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted(
    entry.name for entry in (files("targets") / "requirements").iterdir() if entry.name.endswith(".txt")
)
REQUIREMENT = re.compile(r"([\w-]+)==([\w.]+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")
ON_CPUS = [
    (spec, runtime)
    for spec in list_targets()
    for runtime in spec.runtimes
    if runtime.name not in GPU_RUNTIMES
]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


@pytest.mark.parametrize("file", FILES)
def test_the_pins_are_those_of_constraints(file: str) -> None:
    text = (files("targets") / "requirements" / file).read_text(encoding="utf-8")
    arch, runtime = file.removesuffix(".txt").rsplit("-", 1)
    head, told = text.split("\n", 2)[:2], text.split("\n", 2)[2]
    assert arch in head[0]
    assert runtime in head[0]
    assert head[1] == f"# {PIP} -r {file}"
    assert REQUIREMENT.sub("", told) == ""
    pins = {name: version for name, version, _ in REQUIREMENT.findall(told)}
    assert set(pins) == {"click", "numpy", "tokenizers", runtime}
    known = constraints()
    assert pins == {name: known[name] for name in pins}


@pytest.mark.parametrize(("spec", "runtime"), ON_CPUS, ids=lambda each: getattr(each, "id", None))
def test_every_runtime_on_a_cpu_has_a_file(spec: TargetSpec, runtime: RuntimeProfile) -> None:
    pins = device_pins(spec, runtime.name)
    assert pins.file == f"{spec.arch}-{runtime.name}.txt"
    assert f"\n{runtime.name}==" in pins.text
    assert device_pins(spec).runtime == spec.runtimes[0].name


def test_a_runtime_that_a_target_does_not_have() -> None:
    with pytest.raises(UsageError, match="has no runtime 'openvino'"):
        device_pins(get_target("raspberry-pi-5"), "openvino")
    with pytest.raises(UsageError, match="no requirements are pinned for tensorrt,") as caught:
        device_pins(get_target("jetson-orin"))
    assert "JetPack" in caught.value.hint


def test_the_command_prints_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_guard(device_group(), ["targets", "requirements", "raspberry-pi-5"]) == 0
    assert capsys.readouterr().out == device_pins(get_target("raspberry-pi-5")).text
    asked = ["targets", "requirements", "x86-64-vnni", "--runtime", "onnxruntime"]
    assert main_guard(device_group(), [*asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["target"], told["file"], told["runtime"]) == (
        "x86-64-vnni",
        "x86_64-onnxruntime.txt",
        "onnxruntime",
    )
    assert main_guard(device_group(), ["targets", "requirements", "rtx-ada"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "no requirements are pinned for tensorrt-rtx" in captured.err
