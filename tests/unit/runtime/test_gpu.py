"""GPUs as the driver tells of them (a double of its library), and the bundles that they may run."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from typing import Any

import pytest

from targets.bundle import device
from targets.bundle.device import check_backend, check_gpu
from targets.bundle.schema import EngineRecord, EngineVariant, RuntimeSpec, TargetRecord
from targets.errors import IncompatibleError, MissingBackendError
from targets.gpu import Gpu, Gpus, gpus
from targets.registry import get_target
from targets.spec import ShapeRange

ADA = Gpu(0, "RTX 4090", "8.9", 24_000)
TARGET = TargetRecord.of(get_target("rtx-ada"))
ENGINE = EngineRecord(
    ShapeRange((1, 16), (1, 128), (8, 512)),
    (EngineVariant("fp8", "model/model.onnx", "model/model.engine"),),
    ("8.9",),
    512,
    "",
)
RUNTIME = RuntimeSpec("tensorrt-rtx", "1.7", "1.7.1.116", "model/model.engine", "fp8")


class Driver:
    """The calls of libcuda that bertc makes, by the signatures of cuda.h."""

    def __init__(self, count: int = 1, fails: str = "") -> None:
        self.count = count
        self.fails = fails

    def _code(self, name: str) -> int:
        return 100 if name == self.fails else 0

    def cuInit(self, flags: int) -> int:  # noqa: N802
        assert flags == 0
        return self._code("cuInit")

    def cuDriverGetVersion(self, version: Any) -> int:  # noqa: N802
        version._obj.value = 13010
        return self._code("cuDriverGetVersion")

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.count
        return self._code("cuDeviceGetCount")

    def cuDeviceGet(self, device: Any, index: int) -> int:  # noqa: N802
        device._obj.value = index + 40
        return self._code("cuDeviceGet")

    def cuDeviceGetName(self, name: Any, size: int, device: int) -> int:  # noqa: N802
        assert (size, device >= 40) == (256, True)
        name.value = b"RTX 4090"
        return self._code("cuDeviceGetName")

    def cuDeviceGetPCIBusId(self, address: Any, size: int, device: int) -> int:  # noqa: N802
        assert (size >= 13, device >= 40) == (True, True)
        address.value = b"0000:01:00.0"
        return self._code("cuDeviceGetPCIBusId")

    def cuDeviceTotalMem_v2(self, memory: Any, device: int) -> int:  # noqa: N802
        assert device >= 40
        assert isinstance(memory._obj, ctypes.c_size_t)
        memory._obj.value = 24_000 << 20
        return self._code("cuDeviceTotalMem_v2")

    def cuDeviceGetAttribute(self, value: Any, attribute: int, device: int) -> int:  # noqa: N802
        assert device >= 40
        value._obj.value = {75: 8, 76: 9}[attribute]
        return self._code("cuDeviceGetAttribute")


def test_what_the_driver_says() -> None:
    assert gpus(lambda _: Driver()) == Gpus((replace(ADA, bus_id="0000:01:00.0"),), "13.1", "")
    assert gpus(lambda _: Driver(fails="cuDeviceGetPCIBusId")).found == (ADA,)
    assert [each.index for each in gpus(lambda _: Driver(2)).found] == [0, 1]


def test_no_gpu() -> None:
    def missing(name: str) -> Any:
        raise OSError(name)

    assert gpus(missing) == Gpus(reason="there is no NVIDIA driver")
    assert gpus(lambda _: Driver(0)) == Gpus((), "13.1", "the driver finds no GPU")
    assert gpus(lambda _: Driver(fails="cuInit")).reason == "the NVIDIA driver's cuInit failed with error 100"
    assert gpus(lambda _: Driver(fails="cuDeviceGetAttribute")).found == ()


def test_the_gpu_of_an_engine() -> None:
    check_gpu(TARGET, ENGINE, Gpus((ADA,)))
    any_gpu = replace(TARGET, compute_capabilities=())
    check_gpu(
        any_gpu, replace(ENGINE, compute_capabilities=()), Gpus((replace(ADA, compute_capability="7.5"),))
    )


@pytest.mark.parametrize(
    ("present", "message"),
    [
        (Gpus(reason="there is no NVIDIA driver"), "compute capability 8.9, and there is no NVIDIA driver"),
        (Gpus((replace(ADA, compute_capability="9.0"),)), "RTX 4090 has 9.0"),
        (Gpus((replace(ADA, compute_capability="8.6"),)), "RTX 4090 has 8.6"),
        (Gpus((replace(ADA, memory_mb=500),)), "it needs 1024 MiB of GPU memory"),
    ],
)
def test_another_gpu_is_refused(present: Gpus, message: str) -> None:
    with pytest.raises(IncompatibleError, match=message) as caught:
        check_gpu(TARGET, ENGINE, present)
    assert caught.value.exit_code == 6
    assert caught.value.hint


@pytest.mark.parametrize("installed", ["1.6.0.54", "1.7.2.1", "1.8.0", "2.0"])
def test_an_engine_of_another_version_is_refused(installed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(device, "backend_version", lambda _: installed)
    with pytest.raises(IncompatibleError, match=installed.replace(".", r"\.")) as caught:
        check_backend(RUNTIME)
    assert caught.value.exit_code == 6
    # What is built on the device needs a new enough version, and no certain one.
    if installed != "1.6.0.54":
        check_backend(replace(RUNTIME, model="model/model.onnx"))


def test_the_version_that_built_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(device, "backend_version", lambda _: "1.7.1.116")
    check_backend(RUNTIME)
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(MissingBackendError, match="tensorrt-rtx"):
        check_backend(RUNTIME)
