"""`bertc doctor`: what it prints of machines made up, and of this one."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from compiler.cli.group import make_group
from targets.cli import device_group
from targets.cli.doctor_report import document, lines
from targets.cli_errors import main_guard
from targets.detect import machine
from targets.inventory import Inventory, RuntimeState
from targets.registry import list_targets
from targets.runtime.energy.base import Availability
from targets.spec import RUNTIMES
from tests.support.inventories import ADA, HOST, NOT_SET_UP, PI_5, VNNI, with_devices, without

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "doctor.schema.json").read_bytes())
PI = replace(HOST, machine=PI_5, emulators=())
GUEST = replace(PI, machine=replace(PI_5, emulated="cortex-a76"))
UNKNOWN = replace(HOST, machine=replace(VNNI, cpu_features=frozenset(), memory_mb=0, arch="riscv64"))
EVERY = (
    *(HOST, PI, GUEST, UNKNOWN, replace(HOST, gpus=ADA), replace(HOST, emulators=NOT_SET_UP)),
    replace(without(HOST, *RUNTIMES), missing_packages=("torch",)),
)


def text(here: Inventory) -> str:
    return "\n".join(lines(here))


def row(here: Inventory, target: str) -> list[str]:
    (found,) = (line.split() for line in lines(here) if line.startswith(target + " "))
    return found[1:]


@pytest.mark.parametrize("here", EVERY)
def test_the_json_is_as_its_schema_says(here: Inventory) -> None:
    jsonschema.validate(document(here), SCHEMA)
    assert [each["id"] for each in document(here)["targets"]] == [spec.id for spec in list_targets()]
    assert all(line == line.rstrip() and "\n" not in line for line in lines(here))


def test_a_host() -> None:
    told = text(HOST)
    assert row(HOST, "x86-64-vnni") == ["yes", "yes", "-", "measured"]
    assert row(HOST, "x86-64-avx2") == ["yes", "yes", "yes", "emulated"]
    assert row(HOST, "raspberry-pi-5") == ["yes", "no", "yes", "emulated"]
    assert row(HOST, "rtx-ada") == ["yes", "no", "-", "simulated"]
    assert (
        "arm64-generic, raspberry-pi-4, raspberry-pi-5: this is linux on x86_64; on an emulator here: "
        "`bertc validate BUNDLE --emulate ID`" in told
    )
    assert "x86-64-avx2: it runs here, but its 16-bit sums do not saturate on this CPU" in told
    assert "8-bit dot products (avx_vnni)" in told
    assert "--target native is x86-64-vnni" in told
    assert "every package is installed" in told
    assert told.count("there is no NVIDIA driver") == 2, "once of GPUs, once for all targets that need one"


def test_what_is_missing_has_the_line_that_mends_it() -> None:
    bare = replace(
        without(HOST, "openvino", "tensorrt-rtx"), emulators=NOT_SET_UP, missing_packages=("torch",)
    )
    told = text(bare)
    assert 'openvino      not installed: pip install "bertc[it]"' in told
    assert "Cortex-A76: not set up: bertc emulator setup arm64" in told
    assert "this is linux on x86_64; for an emulator: bertc emulator setup arm64" in told
    assert (
        'without torch, which a device does not need; to compile here: pip install "bertc[compile]"' in told
    )
    assert row(bare, "raspberry-pi-5") == ["no", "no", "no", "none"]
    installed = replace(bare, missing_packages=())
    assert (
        "rtx-ada, rtx-ampere, rtx-blackwell, rtx-turing: cannot compile: tensorrt-rtx is not installed"
        in text(installed)
    )


def test_what_is_plugged_in_without_its_driver() -> None:
    assert "plugged in" not in text(HOST)
    plugged = replace(HOST, accelerators=frozenset({"NVIDIA GPU", "Intel GPU", "Intel NPU"}))
    told = text(plugged)
    assert "one is plugged in: install NVIDIA's driver" in told
    assert "Intel GPU: plugged in, and OpenVINO does not find it: install Intel's compute runtime" in told
    assert "Intel NPU: plugged in, and OpenVINO does not find it: install Intel's NPU driver" in told
    told = text(with_devices(plugged, "CPU", "GPU.0", "NPU"))
    assert "Intel GPU: OpenVINO finds it" in told
    assert "does not find" not in told
    assert 'does not find it: pip install "bertc[it]"' in text(without(plugged, "openvino"))


def test_energy() -> None:
    forbidden = Availability("RAPL", reason="only root may read its counters: sudo chmod")
    absent = Availability("INA3221", reason="no INA3221 in /sys", present=False)
    told = text(replace(HOST, energy=(forbidden, absent)))
    assert "energy     RAPL: only root may read its counters: sudo chmod" in told
    assert "INA3221" not in told
    assert "energy     none: no INA3221 in /sys; virtual machines" in text(replace(HOST, energy=(absent,)))


def test_other_machines() -> None:
    told = text(GUEST)
    assert "Raspberry Pi 5 Model B" in told
    assert "QEMU stands in for a cortex-a76" in told
    assert row(GUEST, "raspberry-pi-5") == ["yes", "yes", "-", "emulated"]
    assert "it runs here" not in told
    told = text(UNKNOWN)
    assert "memory not known" in told
    assert "no target fits it" in told
    assert "no 8-bit dot products" in text(replace(HOST, machine=replace(VNNI, cpu_features=frozenset())))
    broken = {
        **HOST.runtimes,
        "openvino": RuntimeState(None, "openvino cannot be imported: no libtbb", "do X"),
    }
    assert "openvino cannot be imported: no libtbb: do X" in text(replace(HOST, runtimes=broken))
    assert "RTX 4090, compute capability 8.9, 24000 MiB, CUDA 13.0" in text(replace(HOST, gpus=ADA))


@pytest.mark.parametrize("group", [device_group, make_group], ids=["device", "host"])
def test_on_this_machine(group: object, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(group)
    assert main_guard(group(), ["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    jsonschema.validate(told, SCHEMA)
    assert told["machine"]["arch"] == machine().arch
    assert set(told["runtimes"]) == set(RUNTIMES)
    assert told["runtimes"]["onnxruntime"]
    assert [each["id"] for each in told["emulators"]] == (
        [] if group is device_group else ["cortex-a76", "cortex-a72", "haswell"]
    )
    missing = {each["missing"] for each in told["emulators"] if each["userland"] == "arm64"}
    assert missing <= {"not set up: bertc emulator setup arm64"}
    assert main_guard(group(), ["doctor"]) == 0
    found = capsys.readouterr().out.splitlines()
    assert any(line.startswith("jetson-orin") for line in found)
    assert found[0].startswith("machine")


def test_no_host_package_is_imported() -> None:
    code = (
        "import sys\nfrom compiler.cli.group import make_group\nfrom targets.cli_errors import main_guard\n"
        "assert main_guard(make_group(), ['doctor', '--json']) == 0\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    for name in ("torch", "transformers", "onnx_ir", "onnxruntime", "tokenizers", "rich"):
        assert f"'{name}'" not in done.stderr
