"""RAPL's counters in a fake sysfs: what is summed, how a counter wraps, and why it cannot be read."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from targets.runtime.energy.base import EnergySource, SensorError
from targets.runtime.energy.rapl import rapl
from tests.support.power import RANGE, zone


def counting(*counters: tuple[Path, int]) -> Callable[[], None]:
    """Work after which the counters hold other numbers."""

    def work() -> None:
        time.sleep(0.01)
        for path, value in counters:
            path.write_text(f"{value}\n")

    return work


def source(root: Path) -> EnergySource:
    found = rapl(root)
    assert found.source is not None, found.reason
    return found.source


def test_packages_are_summed_and_nothing_twice(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 2_000_000)
    others = [
        zone(tmp_path, name, domain, 5)
        for name, domain in (
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:0:1", "dram"),
            ("intel-rapl:2", "psys"),
            ("intel-rapl-mmio:0", "package-0"),
        )
    ]
    (tmp_path / "sys/class/powercap/intel-rapl").mkdir()
    found = source(tmp_path)
    assert found.name == "RAPL of package-0 + package-1"
    work = counting((first, 1_250_000), (second, 2_500_000), *((path, 10**9) for path in others))
    used = found.measure(work)
    assert used.joules == pytest.approx(0.75)
    assert used.seconds >= 0.01
    assert used.watts == pytest.approx(0.75 / used.seconds)


@pytest.mark.parametrize("domain", ["package-0-die-1", "dram"])
def test_dies_and_memory_of_their_own_count(tmp_path: Path, domain: str) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    other = zone(tmp_path, "intel-rapl:1", domain, 0)
    used = source(tmp_path).measure(counting((first, 300_000), (other, 200_000)))
    assert used.joules == pytest.approx(0.5)


def test_a_counter_wraps(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 100_000)
    assert source(tmp_path).measure(counting((counter, 150_000))).joules == pytest.approx(0.25)


@pytest.mark.parametrize("limit", [None, 0, "many", 5])
def test_a_counter_that_goes_backwards(tmp_path: Path, limit: object) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 900_000, limit)
    with pytest.raises(SensorError, match="package-0 went backwards"):
        source(tmp_path).measure(counting((counter, 100_000)))


@pytest.mark.parametrize("after", [500, 10**18])
def test_a_counter_that_stands_still_or_leaps(tmp_path: Path, after: int) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 500)
    with pytest.raises(SensorError, match="impossible"):
        source(tmp_path).measure(counting((counter, after)))


def test_a_counter_vanishes(tmp_path: Path) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 500)
    found = source(tmp_path)
    with pytest.raises(SensorError, match="energy_uj cannot be read: no such file"):
        found.measure(counter.unlink)
    ran: list[int] = []
    with pytest.raises(SensorError):
        found.measure(lambda: ran.append(1))
    assert not ran


def test_what_the_work_raises_is_raised(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 500)
    with pytest.raises(ZeroDivisionError):
        source(tmp_path).measure(lambda: 1 // 0)


def test_no_right_to_read_names_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = zone(tmp_path, "intel-rapl:0", "package-0", 500)
    read = Path.read_text

    def refuse(path: Path, *args: Any, **options: Any) -> str:
        if path == counter:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *args, **options)

    monkeypatch.setattr(Path, "read_text", refuse)
    found = rapl(tmp_path)
    assert found.source is None
    assert found.present
    assert "only root" in found.reason
    assert "sudo chmod a+r /sys/class/powercap/*/energy_uj" in found.reason
    assert "\n" not in found.reason


@pytest.mark.parametrize("text", ["", "abc", "1_000", "٣", "1.5", "1\n2", "9" * 40])
def test_what_is_no_counter(tmp_path: Path, text: str) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0).write_text(text, encoding="utf-8")
    found = rapl(tmp_path)
    assert (found.source, found.present) == (None, True)
    assert "not a number" in found.reason


def test_there_is_none(tmp_path: Path) -> None:
    assert not rapl(tmp_path).present
    zone(tmp_path, "intel-rapl:0", "psys", 1)
    zone(tmp_path, "dtpm:0", "package-0", 1)
    (tmp_path / "sys/class/powercap/intel-rapl:1").mkdir()
    found = rapl(tmp_path)
    assert not found.present
    assert found.reason == "no RAPL package in /sys/class/powercap"
