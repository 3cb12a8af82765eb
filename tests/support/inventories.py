"""Machines made up, with everything that `bertc doctor` looks for."""

from __future__ import annotations

from dataclasses import replace

from targets.detect import Machine
from targets.gpu import Gpu, Gpus
from targets.inventory import Emulator, Inventory, RuntimeState

VNNI = Machine("x86_64", "linux", "Test CPU", frozenset({"avx2", "avx_vnni"}), 4, 8192)
ZEN_2 = replace(VNNI, cpu_features=frozenset({"avx2"}))
PI_5 = Machine("aarch64", "linux", "A76", frozenset({"asimd", "asimddp"}), 4, 8192, "Raspberry Pi 5 Model B")
ADA = Gpus((Gpu(0, "RTX 4090", "8.9", 24_000),), "13.0")
READY = (
    Emulator("cortex-a76", "Cortex-A76", "arm64", ""),
    Emulator("cortex-a72", "Cortex-A72", "arm64", ""),
    Emulator("haswell", "Haswell", "avx2", ""),
)
NOT_SET_UP = tuple(
    replace(each, missing=f"not set up: bertc emulator setup {each.userland}") for each in READY
)
ABSENT = RuntimeState(problem="not installed", hint='pip install "bertc[it]"')
HOST = Inventory(
    VNNI,
    Gpus(reason="there is no NVIDIA driver"),
    {
        "onnxruntime": RuntimeState("1.32.0"),
        "openvino": RuntimeState("2026.4.1", devices=("CPU",)),
        "tensorrt": ABSENT,
        "tensorrt-rtx": RuntimeState("1.7.1"),
    },
    emulators=READY,
)


def without(here: Inventory, *runtimes: str) -> Inventory:
    """A machine without some of its runtimes."""
    left = {name: ABSENT if name in runtimes else state for name, state in here.runtimes.items()}
    return replace(here, runtimes=left)


def with_devices(here: Inventory, *devices: str) -> Inventory:
    """A machine on which OpenVINO finds some devices."""
    return replace(here, runtimes={**here.runtimes, "openvino": RuntimeState("2026.4.1", devices=devices)})
