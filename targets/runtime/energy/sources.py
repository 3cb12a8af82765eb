"""Which sources of energy readings a machine has, and which of them sees what a bundle runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from targets.gpu import gpus
from targets.runtime.energy.base import Availability, EnergySource
from targets.runtime.energy.commands import Runner, nvidia_smi, pmic, run_command
from targets.runtime.energy.ina3221 import ina3221
from targets.runtime.energy.rapl import rapl

_ROOT: Final = Path("/")


@dataclass(frozen=True, slots=True)
class Found:
    """The source to measure by, or the reason why there is none, in one line."""

    source: EnergySource | None = None
    reason: str = ""


def energy_sources(
    root: Path = _ROOT, run: Runner = run_command, bus_id: str | None = None
) -> tuple[Availability, ...]:
    """Every kind of source: what this machine exposes, and why it does not.

    Args:
        root: where /sys is found.
        run: runs the vendors' commands.
        bus_id: of the GPU that bundles run on; None asks the driver.
    """
    return tuple(look() for look in (*_of_cpu(root, run), _of_gpu(run, bus_id)))


def find_source(gpu: bool, root: Path = _ROOT, run: Runner = run_command, bus_id: str | None = None) -> Found:
    """The first source that sees a CPU, or a GPU.

    A Jetson's rails feed both; RAPL and a Raspberry Pi's PMIC see no GPU, and nvidia-smi sees nothing else.

    Args:
        gpu: whether the bundle runs on a GPU.
        root: as for `energy_sources`.
        run: as for `energy_sources`.
        bus_id: as for `energy_sources`.
    """
    looks: Iterable[Callable[[], Availability]] = _of_cpu(root, run)
    if gpu:
        looks = (lambda: ina3221(root), _of_gpu(run, bus_id))
    tried = []
    for look in looks:
        tried.append(look())
        if tried[-1].source is not None:
            return Found(tried[-1].source)
    unusable = [f"{each.kind}: {each.reason}" for each in tried if each.present]
    if unusable:
        return Found(reason="; ".join(unusable))
    absent = ", ".join(each.reason for each in tried)
    return Found(reason=f"no energy counter or power sensor here ({absent}); virtual machines hide theirs")


def _of_cpu(root: Path, run: Runner) -> tuple[Callable[[], Availability], ...]:
    return (lambda: rapl(root), lambda: ina3221(root), lambda: pmic(run))


def _of_gpu(run: Runner, bus_id: str | None) -> Callable[[], Availability]:
    return lambda: nvidia_smi(run, _first_gpu() if bus_id is None else bus_id)


def _first_gpu() -> str:
    """Address of the GPU that engines run on; nvidia-smi numbers GPUs in another order than CUDA does."""
    return next((gpu.bus_id for gpu in gpus().found), "")
