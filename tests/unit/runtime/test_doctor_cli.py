"""`bertc doctor`: what a machine can compile for and run, on this one and on machines made up."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from targets.cli import device_group, doctor
from targets.cli.doctor import Ability, ability
from targets.cli_errors import main_guard
from targets.detect import Machine, machine
from targets.gpu import Gpu, Gpus
from targets.registry import get_target, list_targets
from targets.spec import RUNTIMES

VNNI = Machine("x86_64", "linux", "Test CPU", frozenset({"avx2", "avx_vnni"}), 4, 8192)
NO_GPU = Gpus(reason="there is no NVIDIA driver")
ADA = Gpus((Gpu(0, "RTX 4090", "8.9", 24_000),), "13.0")


@pytest.fixture(autouse=True)
def everything_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_installed", lambda _: True)


def test_a_cpu() -> None:
    spec = get_target("x86-64-vnni")
    assert ability(spec, VNNI, NO_GPU, []) == Ability("x86-64-vnni", None, None, "measured")
    old = replace(VNNI, cpu_features=frozenset({"avx2"}))
    reason = "the CPU has no avx512_vnni or avx_vnni"
    assert ability(spec, old, NO_GPU, []) == Ability("x86-64-vnni", reason, reason, "none")
    arm = replace(VNNI, arch="aarch64")
    assert ability(spec, arm, NO_GPU, []).run == "this is linux on aarch64"
    assert ability(spec, VNNI, NO_GPU, ["torch"]).compile == "torch is not installed"


def test_a_gpu_that_is_not_there_is_simulated() -> None:
    found = ability(get_target("rtx-ada"), VNNI, NO_GPU, [])
    assert (found.compile, found.evidence) == (None, "simulated")
    assert found.run == "it needs a GPU of compute capability 8.9, and there is no NVIDIA driver"
    assert ability(get_target("rtx-ampere"), VNNI, ADA, []).run == (
        "it needs a GPU of compute capability 8.6, and RTX 4090 has 8.9"
    )


def test_a_device_of_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = get_target("intel-npu")
    monkeypatch.setattr(doctor, "openvino_devices", lambda: ("CPU", "GPU"))
    found = ability(spec, VNNI, NO_GPU, [])
    assert found == Ability("intel-npu", None, "OpenVINO finds no NPU here (it has: CPU, GPU)", "simulated")
    assert ability(get_target("intel-igpu"), VNNI, NO_GPU, []).evidence == "measured"
    arm = ability(spec, replace(VNNI, arch="aarch64"), NO_GPU, [])
    assert (arm.compile, arm.run, arm.evidence) == (None, "this is linux on aarch64", "simulated")
    monkeypatch.setattr(doctor, "is_installed", lambda _: False)
    found = ability(spec, VNNI, NO_GPU, [])
    assert (found.compile, found.run, found.evidence) == (
        "openvino not installed",
        "openvino not installed",
        "none",
    )


def test_runtimes_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_installed", lambda _: False)
    found = ability(get_target("rtx-ada"), VNNI, NO_GPU, [])
    assert (found.compile, found.evidence) == ("tensorrt-rtx not installed", "none")
    assert ability(get_target("jetson-orin"), VNNI, NO_GPU, []).compile is None
    assert (
        ability(get_target("x86-64-vnni"), VNNI, NO_GPU, []).run == "openvino and onnxruntime not installed"
    )


def test_on_this_machine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.undo()
    assert main_guard(device_group(), ["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["machine"]["arch"] == machine().arch
    assert set(told["runtimes"]) == set(RUNTIMES)
    assert told["runtimes"]["onnxruntime"]
    assert [each["id"] for each in told["targets"]] == [spec.id for spec in list_targets()]
    assert main_guard(device_group(), ["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("jetson-orin") for line in lines)
    assert lines[0].startswith("machine")
