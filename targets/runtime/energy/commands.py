"""Power that a vendor's command tells: the Raspberry Pi's PMIC, and NVIDIA's GPUs."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Callable, Sequence
from typing import Final

from targets.runtime.energy.base import Availability, SensorError
from targets.runtime.energy.sampled import SampledPower

Runner = Callable[[Sequence[str]], str]
"""Runs a command and gives what it prints. Raises FileNotFoundError where there is none, else SensorError."""

PMIC: Final = "Raspberry Pi PMIC"
NVIDIA_SMI: Final = "nvidia-smi"

_READ_PMIC: Final = ("vcgencmd", "pmic_read_adc")
_READ_GPU: Final = ("nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits")
_ADC: Final = re.compile(
    r"^\s*(\w+)_([AV])\s+(?:current|volt)\([0-9]+\)=([0-9]+(?:\.[0-9]+)?)[AV]\s*$", re.MULTILINE
)
_NOT_ALLOWED: Final = re.compile("vcio|VCHI|permission", re.IGNORECASE)
_TIMEOUT_S: Final = 5
_INTERVAL_S: Final = 0.2
_GPU_AVERAGE_S: Final = 1.0
"""nvmlDeviceGetPowerUsage averages over a second on Ampere and later."""


def run_command(command: Sequence[str]) -> str:
    """Runs a command as `Runner` has it."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SensorError(f"{command[0]} cannot be run: {error}") from error
    if done.returncode != 0:
        raise SensorError(f"{command[0]} failed: {_first_line(done.stdout + done.stderr)}")
    return done.stdout


def pmic(run: Runner) -> Availability:
    """The rails of the Raspberry Pi's PMIC; of its models, the 5 has currents."""

    def read() -> float:
        try:
            return pmic_watts(_output(run, _READ_PMIC))
        except SensorError as error:
            if _NOT_ALLOWED.search(str(error)):
                raise SensorError(f"{error}; join its group: sudo usermod -aG video $USER") from error
            raise

    return _probe(PMIC, "rails of the Raspberry Pi's PMIC, less than at the plug", _READ_PMIC[0], read)


def nvidia_smi(run: Runner, bus_id: str = "") -> Availability:
    """One GPU as the driver's command tells.

    Args:
        run: runs the command.
        bus_id: the GPU's address on the PCI bus; empty where there is but one.
    """
    command = (*_READ_GPU, f"--id={bus_id}") if bus_id else _READ_GPU

    def read() -> float:
        return gpu_watts(_output(run, command))

    return _probe(NVIDIA_SMI, "GPU board, by nvidia-smi", command[0], read, _GPU_AVERAGE_S)


def pmic_watts(text: str) -> float:
    """The sum over the rails of current times voltage.

    Args:
        text: as `vcgencmd pmic_read_adc` prints it. The 5 V input has a voltage alone and does not count.

    Raises:
        SensorError: no rail has both.
    """
    read: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for name, unit, value in _ADC.findall(text):
        read[unit][name] = float(value)
    rails = read["A"].keys() & read["V"].keys()
    if not rails:
        raise SensorError("it tells no currents; that of a Raspberry Pi 5 does")
    return sum(read["A"][name] * read["V"][name] for name in rails)


def gpu_watts(text: str) -> float:
    """The power of the one GPU that nvidia-smi lists, in watts.

    Raises:
        SensorError: several GPUs, or no number.
    """
    lines = text.split("\n") if (text := text.strip()) else []
    if len(lines) > 1:
        raise SensorError(f"it lists {len(lines)} GPUs, and which of them runs the bundle is not known")
    try:
        watts = float(lines[0])
    except (IndexError, ValueError):
        watts = math.nan
    if not math.isfinite(watts):
        raise SensorError(f"it tells no power of this GPU: {_first_line(text)}")
    return watts


def _probe(
    kind: str, name: str, program: str, read: Callable[[], float], settle_s: float = 0.0
) -> Availability:
    try:
        read()
    except SensorError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return Availability(kind, reason=f"no {program}", present=False)
        return Availability(kind, reason=str(error))
    return Availability(kind, SampledPower(name, read, _INTERVAL_S, settle_s))


def _output(run: Runner, command: Sequence[str]) -> str:
    try:
        return run(command)
    except FileNotFoundError as error:
        raise SensorError(f"{command[0]} is gone") from error


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:120] or "it printed nothing"
