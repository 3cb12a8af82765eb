"""The NVIDIA GPUs of this machine, from the driver alone, and whether a bundle may run on one of them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

_LIBRARY: Final = "libcuda.so.1"
_CAPABILITY: Final = (75, 76)
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR of cuda.h."""
_NAME_BYTES: Final = 256
_BUS_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU.

    Attributes:
        index: as CUDA numbers it.
        name: for people.
        compute_capability: as in "8.6".
        memory_mb: in MiB.
        bus_id: address on the PCI bus, as in "0000:01:00.0"; empty where it is not known.
    """

    index: int
    name: str
    compute_capability: str
    memory_mb: int
    bus_id: str = ""


@dataclass(frozen=True, slots=True)
class Gpus:
    """What the driver says.

    Attributes:
        found: every GPU.
        driver: the CUDA version that the driver has, as in "13.0"; empty without one.
        reason: why there is none; empty where there is one.
    """

    found: tuple[Gpu, ...] = ()
    driver: str = ""
    reason: str = ""


class _DriverError(Exception):
    """A call of the driver that failed."""


def gpus(load: Callable[[str], Any] = ctypes.CDLL) -> Gpus:
    """Ask the driver; no package of CUDA is needed.

    Args:
        load: opens a shared library.
    """
    try:
        library = load(_LIBRARY)
    except OSError:
        return Gpus(reason="there is no NVIDIA driver")
    driver = ""
    try:
        _call(library, "cuInit", 0)
        driver = _version(_integer(library, "cuDriverGetVersion"))
        count = _integer(library, "cuDeviceGetCount")
        found = tuple(_gpu(library, index) for index in range(count))
    except _DriverError as error:
        return Gpus(driver=driver, reason=str(error))
    return Gpus(found, driver, "" if found else "the driver finds no GPU")


def _gpu(library: Any, index: int) -> Gpu:
    device = _integer(library, "cuDeviceGet", index)
    name, memory = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t()
    _call(library, "cuDeviceGetName", name, _NAME_BYTES, device)
    _call(library, "cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    major, minor = (_integer(library, "cuDeviceGetAttribute", which, device) for which in _CAPABILITY)
    text = name.value.decode("utf-8", "replace")
    return Gpu(index, text, f"{major}.{minor}", memory.value // 2**20, _bus_id(library, device))


def _bus_id(library: Any, device: int) -> str:
    address = ctypes.create_string_buffer(_BUS_ID_BYTES)
    try:
        _call(library, "cuDeviceGetPCIBusId", address, _BUS_ID_BYTES, device)
    except _DriverError:
        return ""
    return address.value.decode("ascii", "replace")


def _integer(library: Any, name: str, *arguments: int) -> int:
    value = ctypes.c_int()
    _call(library, name, ctypes.byref(value), *arguments)
    return value.value


def _call(library: Any, name: str, *arguments: Any) -> None:
    code = getattr(library, name)(*arguments)
    if code != 0:
        raise _DriverError(f"the NVIDIA driver's {name} failed with error {code}")


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"
