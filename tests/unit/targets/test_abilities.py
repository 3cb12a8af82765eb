"""What a machine can do for a target, on machines made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from targets.abilities import Ability, ability
from targets.inventory import Inventory
from targets.registry import get_target, list_targets
from targets.spec import TargetSpec
from tests.support.inventories import ADA, HOST, NOT_SET_UP, PI_5, VNNI, ZEN_2, with_devices, without

PI = replace(HOST, machine=PI_5, emulators=())
ELSEWHERE = "this is linux on x86_64"
NO_EMULATOR = "it cannot be emulated"


def of(target: str, here: Inventory) -> Ability:
    return ability(get_target(target), here)


@pytest.mark.parametrize("spec", list_targets(), ids=lambda spec: spec.id)
def test_a_host_compiles_for_every_target(spec: TargetSpec) -> None:
    assert ability(spec, HOST).compile is None
    assert ability(spec, PI).compile is None


def test_a_cpu_that_is_here() -> None:
    assert of("x86-64-vnni", HOST) == Ability("x86-64-vnni", None, None, NO_EMULATOR, "measured")
    assert of("raspberry-pi-5", PI).evidence == "measured"


def test_a_cpu_that_is_not_here_is_emulated_or_else_simulated() -> None:
    assert of("raspberry-pi-5", HOST) == Ability("raspberry-pi-5", None, ELSEWHERE, None, "emulated")
    setup = "not set up: bertc emulator setup arm64"
    bare = replace(HOST, emulators=NOT_SET_UP)
    assert of("raspberry-pi-5", bare) == Ability("raspberry-pi-5", None, ELSEWHERE, setup, "simulated")
    old = replace(HOST, machine=ZEN_2)
    found = of("x86-64-vnni", old)
    assert (found.run, found.evidence) == ("the CPU has no avx512_vnni or avx_vnni", "simulated")
    assert of("x86-64-vnni", PI).run == "this is linux on aarch64"


def test_a_cpu_with_dot_products_does_not_show_saturation() -> None:
    found = of("x86-64-avx2", HOST)
    assert (found.run, found.evidence) == (None, "emulated")
    assert of("x86-64-avx2", replace(HOST, emulators=NOT_SET_UP)).evidence == "simulated"
    assert of("x86-64-avx2", replace(HOST, machine=ZEN_2)).evidence == "measured"


def test_under_emulation_nothing_is_measured() -> None:
    guest = replace(PI, machine=replace(PI_5, emulated="cortex-a76"))
    found = of("raspberry-pi-5", guest)
    assert (found.run, found.evidence) == (None, "emulated")


def test_too_little_memory() -> None:
    small = replace(HOST, machine=replace(VNNI, memory_mb=300))
    assert of("x86-64-vnni", small).run == "this has 300 MiB of memory, and it needs 512"
    assert of("x86-64-vnni", replace(HOST, machine=replace(VNNI, memory_mb=0))).run is None


def test_a_gpu() -> None:
    found = of("rtx-ada", HOST)
    assert (found.compile, found.run, found.evidence) == (None, "there is no NVIDIA driver", "simulated")
    here = replace(HOST, gpus=ADA)
    assert of("rtx-ada", here).evidence == "measured"
    assert of("rtx-ampere", here).run == "it needs a GPU of compute capability 8.6, and RTX 4090 has 8.9"


def test_a_device_of_openvino() -> None:
    here = with_devices(HOST, "CPU", "GPU.0")
    found = of("intel-npu", here)
    assert found.run == "OpenVINO finds no NPU here (it has: CPU, GPU.0)"
    assert (found.compile, found.evidence) == (None, "simulated")
    assert of("intel-igpu", here).evidence == "measured"


def test_packages_that_are_missing() -> None:
    found = of("x86-64-vnni", replace(HOST, missing_packages=("torch", "rich")))
    assert found.compile == 'torch and rich are not installed: pip install "bertc[compile]"'
    assert (found.run, found.evidence) == (None, "measured")
    assert of("rtx-ada", replace(HOST, missing_packages=("torch",))).evidence is None


def test_runtimes_that_are_missing() -> None:
    bare = without(HOST, "onnxruntime", "openvino", "tensorrt-rtx")
    told = 'openvino and onnxruntime are not installed: pip install "bertc[it]"'
    assert (of("x86-64-vnni", bare).compile, of("x86-64-vnni", bare).run) == (told, told)
    rtx = of("rtx-ada", bare)
    assert rtx.compile == 'tensorrt-rtx is not installed: pip install "bertc[it]"'
    assert rtx.evidence is None
    assert of("jetson-orin", bare).compile is None, "its engine is built on the device"
    assert of("x86-64-vnni", without(HOST, "openvino")).run is None
    npu = of("intel-npu", bare)
    assert npu.run == 'openvino is not installed: pip install "bertc[it]"'


def test_a_device_has_no_emulators() -> None:
    assert "device's part" in str(of("raspberry-pi-4", replace(HOST, emulators=())).emulate)
