"""What a machine has: accelerators that are plugged in, and drivers and runtimes that fail when asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from targets import inventory
from targets.errors import MissingBackendError
from targets.inventory import RuntimeState, asked, take_inventory
from targets.pci import accelerators


def plug(root: Path, address: str, vendor: str, code: str) -> None:
    folder = root / "sys/bus/pci/devices" / address
    folder.mkdir(parents=True)
    (folder / "vendor").write_text(vendor + "\n")
    (folder / "class").write_text(code + "\n")


def test_accelerators(tmp_path: Path) -> None:
    assert accelerators(tmp_path) == frozenset()
    plug(tmp_path, "0000:00:02.0", "0x8086", "0x030000")
    plug(tmp_path, "0000:00:1f.0", "0x8086", "0x060100")
    assert accelerators(tmp_path) == {"Intel GPU"}
    plug(tmp_path, "0000:00:0b.0", "0x8086", "0x120000")
    plug(tmp_path, "0000:01:00.0", "0x10de", "0x030200")
    plug(tmp_path, "0000:01:00.1", "0x10de", "0x040300")
    assert accelerators(tmp_path) == {"Intel GPU", "Intel NPU", "NVIDIA GPU"}


def test_whatever_fails_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the plugin\ncrashed")

    for name in ("gpus", "openvino_devices", "energy_sources", "accelerators"):
        monkeypatch.setattr(inventory, name, fail)
    found = take_inventory(tmp_path)
    why = "asking it failed with OSError: the plugin crashed"
    assert (found.gpus.reason, found.gpus.found) == (why, ())
    assert found.runtimes["openvino"] == RuntimeState(None, why, 'pip install "bertc[openvino]"')
    assert found.runtimes["onnxruntime"].version
    assert [each.reason for each in found.energy] == [why]
    assert (found.machine.memory_mb, found.machine.cpu_features) == (0, frozenset())


def test_a_package_that_cannot_be_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ValueError(f"{name}.__spec__ is None")

    monkeypatch.setattr(inventory, "is_installed", fail)
    monkeypatch.setattr(inventory.importlib.util, "find_spec", fail)
    found = take_inventory()
    assert found.missing_packages == inventory.HOST_PACKAGES
    assert {state.problem for state in found.runtimes.values()} == {"not installed"}


def test_bertcs_own_errors_keep_their_words() -> None:
    def fail() -> str:
        raise MissingBackendError("openvino cannot be imported: no libtbb", "hint")

    assert asked(fail, str) == "openvino cannot be imported: no libtbb"
    assert asked(lambda: "answer", str) == "answer"


def test_an_interrupt_is_not_an_answer() -> None:
    def fail() -> str:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        asked(fail, str)
