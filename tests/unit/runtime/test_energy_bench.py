"""Which source is chosen, joules of a text, and what `bertc bench` makes of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

from targets.cli import device_group
from targets.cli_errors import main_guard
from targets.runtime import bench as bench_module
from targets.runtime.bench import bench
from targets.runtime.energy.base import Availability, Energy, SensorError
from targets.runtime.energy.measure import EnergyMeter, EnergyReport
from targets.runtime.energy.sources import Found, energy_sources, find_source
from tests.support.power import ADC, gone, hwmon, zone
from tests.support.tiny_runtime import table, tiny_bundle

SCHEMA = Path(__file__).resolve().parents[3] / "docs" / "schemas" / "bench.schema.json"


class Constant:
    """A source of always the same power, that may fail from some window on."""

    name = "a constant"
    settle_s = 0.0
    last: Energy

    def __init__(self, watts: float = 2.0, fails_from: int = 1000) -> None:
        self._watts = watts
        self._left = fails_from

    def measure(self, work: Callable[[], object]) -> Energy:
        self._left -= 1
        if self._left < 0:
            raise SensorError("unplugged")
        begin = time.perf_counter()
        work()
        seconds = time.perf_counter() - begin
        self.last = Energy(self._watts * seconds, seconds)
        return self.last


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.runtime.energy.measure._LEAST_S", 0.02)
    monkeypatch.setattr("targets.runtime.energy.measure._IDLE_S", 0.01)


def test_each_kind_says_what_it_is_or_why_not(tmp_path: Path) -> None:
    found = energy_sources(tmp_path, gone, bus_id="")
    assert [each.kind for each in found] == ["RAPL", "INA3221", "Raspberry Pi PMIC", "nvidia-smi"]
    assert all(each.source is None and each.reason and not each.present for each in found)
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    assert energy_sources(tmp_path, gone, bus_id="")[0] == Availability(
        "RAPL", find_source(False, tmp_path).source
    )


def test_the_source_sees_what_the_bundle_runs_on(tmp_path: Path) -> None:
    def run(command: tuple[str, ...]) -> str:
        return ADC if command[0] == "vcgencmd" else "30.5"

    def chosen(gpu: bool) -> str:
        found = find_source(gpu, tmp_path, run, bus_id="")
        assert found.source is not None
        return found.source.name

    assert "PMIC" in chosen(gpu=False)
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    assert (chosen(gpu=False), chosen(gpu=True)) == ("RAPL of package-0", "GPU board, by nvidia-smi")


def test_a_jetson_measures_both(tmp_path: Path) -> None:
    hwmon(tmp_path, 1, {"VDD_IN": (5000, 1200)})
    for gpu in (False, True):
        found = find_source(gpu, tmp_path, gone, bus_id="")
        assert found.source is not None
        assert found.source.name == "INA3221 on VDD_IN"


def test_no_source_is_one_line(tmp_path: Path) -> None:
    for gpu, words in ((False, ("RAPL", "INA3221", "vcgencmd")), (True, ("INA3221", "nvidia-smi"))):
        found = find_source(gpu, tmp_path, gone, bus_id="")
        assert found.source is None
        assert all(word in found.reason for word in (*words, "virtual machines"))
        assert "\n" not in found.reason
    zone(tmp_path, "intel-rapl:0", "package-0", "oops")
    found = find_source(False, tmp_path, gone)
    assert found == Found(reason="RAPL: energy_uj holds 'oops', which is not a number")


@pytest.mark.usefixtures("quick")
def test_joules_of_a_text() -> None:
    source, runs = Constant(3.0), list[None]()
    meter = EnergyMeter(Found(source))
    meter.idle()
    joules = meter.per_text(lambda: runs.append(time.sleep(0.001)), 4, 0.0)
    assert joules == pytest.approx(source.last.joules / (len(runs) * 4), rel=1e-5)
    assert source.last.seconds >= 0.02
    assert meter.report == EnergyReport("a constant", 3.0, None)


@pytest.mark.usefixtures("quick")
def test_one_long_run_is_a_window() -> None:
    source, runs = Constant(), list[None]()
    EnergyMeter(Found(source)).per_text(lambda: runs.append(time.sleep(0.05)), 1, 0.001)
    assert len(runs) == 1


@pytest.mark.usefixtures("quick")
def test_a_sensor_that_averages_sees_the_work_before() -> None:
    settled: list[int] = []
    runs: list[None] = []

    class Slow(Constant):
        settle_s = 0.01

        def measure(self, work: Callable[[], object]) -> Energy:
            settled.append(len(runs))
            return super().measure(work)

    EnergyMeter(Found(Slow())).per_text(lambda: runs.append(time.sleep(0.001)), 1, 0.01)
    assert 0 < settled[0] < len(runs)


@pytest.mark.usefixtures("quick")
def test_a_source_that_fails_keeps_its_reason() -> None:
    meter = EnergyMeter(Found(Constant(fails_from=1)))
    meter.idle()
    assert meter.per_text(lambda: None, 1, 0.01) is None
    assert meter.report == EnergyReport("a constant", 2.0, "unplugged")
    without = EnergyMeter(Found(reason="none here"))
    without.idle()
    assert without.per_text(lambda: None, 1, 0.01) is None
    assert without.report == EnergyReport(None, None, "none here")


@pytest.mark.usefixtures("quick")
def test_bench_with_energy(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", "onnxruntime", "text-classification", table(2))
    report = bench(bundle, [(1, 8), (4, 16)], iterations=3, seconds=0.02, threads=1, energy=Found(Constant()))
    document = json.loads(json.dumps(report.to_dict()))
    jsonschema.validate(document, json.loads(SCHEMA.read_bytes()))
    one, four = (row["energy_j"] for row in document["shapes"])
    assert document["energy_j"] == one > 0
    assert four > 0
    assert document["energy"]["source"] == "a constant"
    assert document["energy"]["idle_w"] == pytest.approx(2.0)
    assert document["energy"]["reason"] is None


@pytest.mark.usefixtures("quick")
def test_bench_prints_joules_or_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tiny_bundle(tmp_path / "b", "onnxruntime", "text-classification", table(2)).path
    command = [
        "bench",
        str(path),
        "--shape",
        "1x8",
        "--shape",
        "2x8",
        "--iterations",
        "3",
        "--seconds",
        "0.02",
    ]

    def printed(found: Found) -> list[str]:
        monkeypatch.setattr(bench_module, "find_source", lambda **_: found)
        assert main_guard(device_group(), command) == 0
        return capsys.readouterr().out.splitlines()

    lines = printed(Found(Constant()))
    assert lines[0].endswith("   J/text")
    assert all(float(line.split()[-1]) > 0 for line in lines[1:3])
    assert lines[-1] == "energy  a constant; 2.00 W idle"
    lines = printed(Found(Constant(fails_from=2)))
    assert [line.split()[-1] == "-" for line in lines[1:3]] == [False, True]
    assert lines[-1] == "energy  a constant; 2.00 W idle; not all was measured: unplugged"
    lines = printed(Found(reason="none here"))
    assert "J/text" not in lines[0]
    assert lines[-1] == "energy  not measured: none here"
