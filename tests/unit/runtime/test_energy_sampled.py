"""Sensors of power: how samples become joules, and what the INA3221, vcgencmd and nvidia-smi tell."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from targets.runtime.energy.base import SensorError
from targets.runtime.energy.commands import gpu_watts, nvidia_smi, pmic, pmic_watts, run_command
from targets.runtime.energy.ina3221 import ina3221
from targets.runtime.energy.sampled import SampledPower, integrate
from tests.support.power import ADC, gone, hwmon


def failing(text: str) -> Callable[[Sequence[str]], str]:
    def run(_command: Sequence[str]) -> str:
        raise SensorError(text)

    return run


def test_the_trapezoidal_rule() -> None:
    ramp = [(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]
    assert integrate(ramp, 1.0, 3.0, 1.0) == pytest.approx(8.0)
    assert integrate(ramp, 0.5, 3.5, 1.0) == pytest.approx(8.0 + 0.5 * 2 + 0.5 * 6)
    assert integrate([(0.0, 100.0), *ramp, (9.0, 100.0)], 1.0, 3.0, 1.0) == pytest.approx(8.0)
    assert integrate([(1.5, 3.0)], 1.0, 2.0, 1.0) == pytest.approx(3.0)


def test_samples_that_are_too_few() -> None:
    with pytest.raises(SensorError, match="no sample in time"):
        integrate([(5.0, 1.0)], 1.0, 3.0, 1.0)
    with pytest.raises(SensorError, match=r"no sample for 1\.5 s"):
        integrate([(1.0, 1.0), (2.5, 1.0)], 1.0, 3.0, 1.0)


def until(reads: Sequence[object], count: int) -> Callable[[], None]:
    """Work that ends when a sensor was read so often."""

    def work() -> None:
        while len(reads) < count:
            time.sleep(0.001)

    return work


@pytest.fixture
def any_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may sample late."""
    monkeypatch.setattr("targets.runtime.energy.sampled._GAP_SHARE", 1.0)


@pytest.mark.usefixtures("any_gap")
def test_power_is_sampled_beside_the_work() -> None:
    threads: list[threading.Thread] = []

    def read() -> float:
        threads.append(threading.current_thread())
        return 5.0

    used = SampledPower("x", read, 0.01).measure(until(threads, 6))
    assert used.joules == pytest.approx(5.0 * used.seconds)
    assert used.seconds >= 0.04
    assert threads[0] is threading.current_thread()
    assert len(set(threads[1:])) == 1
    assert threads[1] is not threading.current_thread()
    assert not threads[1].is_alive()


@pytest.mark.usefixtures("any_gap")
def test_a_sample_that_fails_is_left_out() -> None:
    reads: list[int] = []

    def flaky() -> float:
        reads.append(len(reads))
        if len(reads) % 2 == 0:
            raise SensorError("busy")
        return 4.0

    used = SampledPower("x", flaky, 0.01).measure(until(reads, 8))
    assert used.joules == pytest.approx(4.0 * used.seconds)


def test_a_sensor_that_falls_silent_is_not_believed() -> None:
    begin = time.perf_counter()

    def dies() -> float:
        if time.perf_counter() - begin > 0.05:
            raise SensorError("unplugged")
        return 4.0

    with pytest.raises(SensorError, match="unplugged"):
        SampledPower("x", dies, 0.01).measure(lambda: time.sleep(0.3))


def test_a_dead_sensor_wastes_no_work() -> None:
    ran: list[int] = []

    def dead() -> float:
        raise SensorError("dead")

    with pytest.raises(SensorError, match="dead"):
        SampledPower("x", dead, 0.01).measure(lambda: ran.append(1))
    assert not ran


@pytest.mark.usefixtures("any_gap")
@pytest.mark.parametrize("watts", [0.0, -3.0, 1e9])
def test_a_power_that_cannot_be(watts: float) -> None:
    reads: list[None] = []

    def read() -> float:
        reads.append(None)
        return watts

    with pytest.raises(SensorError, match="impossible"):
        SampledPower("x", read, 0.01).measure(until(reads, 4))


def test_the_thread_ends_when_the_work_fails() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        SampledPower("x", lambda: 1.0, 0.01).measure(lambda: 1 // 0)
    assert threading.active_count() == before


def sampled(root: Path) -> SampledPower:
    found = ina3221(root).source
    assert isinstance(found, SampledPower)
    return found


def test_the_input_of_a_module_is_not_added_to_its_parts(tmp_path: Path) -> None:
    hwmon(tmp_path, 0, {"VDD_IN": (1, 1)}, name="other")
    hwmon(tmp_path, 1, {"VDD_IN": (5000, 1200), "VDD_CPU_GPU_CV": (5000, 600), "VDD_SOC": (5000, 300)})
    found = sampled(tmp_path)
    assert found.name == "INA3221 on VDD_IN"
    assert found.read() == pytest.approx(6.0)


def test_a_module_without_an_input_rail_is_summed(tmp_path: Path) -> None:
    rails = {"VDD_GPU_SOC": (20_000, 300), "VDD_CPU_CV": (20_000, -10), "VIN_SYS_5V0": (5000, 900)}
    hwmon(tmp_path, 3, rails)
    hwmon(tmp_path, 4, {"VDDQ_VDD2_1V8AO": (4968, 200)})
    found = sampled(tmp_path)
    assert found.name == "INA3221 on VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0"
    assert found.read() == pytest.approx(6.0 - 0.2 + 4.5)


def test_the_driver_of_old_kernels(tmp_path: Path) -> None:
    folder = tmp_path / "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    folder.mkdir(parents=True)
    (folder / "rail_name_0").write_text("POM_5V_IN\n")
    (folder / "in_power0_input").write_text("2875\n")
    assert sampled(tmp_path).read() == pytest.approx(2.875)


def test_ina3221_that_cannot_be_used(tmp_path: Path) -> None:
    assert not ina3221(tmp_path).present
    folder = hwmon(tmp_path, 1, {"VDD_IN": ("oops", 1200)})
    assert "in1_input holds 'oops', which is not a number" in ina3221(tmp_path).reason
    (folder / "in1_input").unlink()
    assert "in1_input cannot be read" in ina3221(tmp_path).reason
    (folder / "in1_label").write_text("LEFT\n")
    found = ina3221(tmp_path)
    assert (found.source, found.present) == (None, True)
    assert "LEFT" in found.reason


def test_a_rail_vanishes(tmp_path: Path) -> None:
    folder = hwmon(tmp_path, 1, {"VDD_IN": (5000, 1000)})
    found = sampled(tmp_path)
    (folder / "curr1_input").unlink()
    with pytest.raises(SensorError, match="curr1_input cannot be read"):
        found.measure(lambda: None)


def test_the_rails_of_a_raspberry_pi() -> None:
    assert pmic_watts(ADC) == pytest.approx(0.005 * 4 + 2 * 0.75)
    found = pmic(lambda command: ADC if command == ("vcgencmd", "pmic_read_adc") else "")
    assert found.source is not None
    assert "PMIC" in found.source.name


def test_a_raspberry_pi_that_tells_nothing() -> None:
    assert pmic(gone).reason == "no vcgencmd"
    assert not pmic(gone).present
    older = pmic(lambda _: 'error=1 error_msg="Command not registered"')
    assert older.present
    assert "Raspberry Pi 5" in older.reason
    locked = pmic(failing("vcgencmd failed: Can't open device file: /dev/vcio"))
    assert "sudo usermod -aG video $USER" in locked.reason


def test_the_power_of_a_gpu() -> None:
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> str:
        commands.append(command)
        return " 57.31\n"

    found = nvidia_smi(run, "0000:01:00.0").source
    assert isinstance(found, SampledPower)
    assert found.read() == pytest.approx(57.31)
    assert found.settle_s > 0
    query = ("nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits")
    assert commands[0] == (*query, "--id=0000:01:00.0")
    assert nvidia_smi(run).source is not None
    assert commands[-1] == query


@pytest.mark.parametrize("text", ["", "[N/A]", "[Not Supported]", "nan", "inf", "1\n2", "57 W"])
def test_a_gpu_that_tells_nothing(text: str) -> None:
    with pytest.raises(SensorError):
        gpu_watts(text)
    found = nvidia_smi(lambda _: text)
    assert (found.source, found.present) == (None, True)
    assert "\n" not in found.reason


def test_a_command_goes_away() -> None:
    assert not nvidia_smi(gone).present
    answers = iter([ADC])

    def run(command: Sequence[str]) -> str:
        return next(answers, None) or gone(command)

    source = pmic(run).source
    assert source is not None
    with pytest.raises(SensorError, match="vcgencmd is gone"):
        source.measure(lambda: None)


def test_commands_are_run() -> None:
    assert run_command((sys.executable, "-c", "print('5')")) == "5\n"
    with pytest.raises(FileNotFoundError):
        run_command(("no-such-command-here",))
    with pytest.raises(SensorError, match="failed: no rights"):
        run_command((sys.executable, "-c", "import sys; sys.exit('no rights\\nat all')"))


def test_a_command_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.runtime.energy.commands._TIMEOUT_S", 0.05)
    with pytest.raises(SensorError, match="timed out"):
        run_command((sys.executable, "-c", "import time; time.sleep(20)"))
