"""`bertc targets`: the list, and what one target is and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest

from targets.cli import device_group
from targets.cli_errors import main_guard
from targets.registry import get_target, list_targets
from targets.spec import TargetSpec

Ran = Callable[..., tuple[int, str, str]]
NPU = (files("targets") / "profiles" / "intel-npu.toml").read_text(encoding="utf-8")


@pytest.fixture
def bertc(capsys: pytest.CaptureFixture[str]) -> Ran:
    def call(*argv: object) -> tuple[int, str, str]:
        code = main_guard(device_group(), ["targets", *map(str, argv)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_list_has_a_line_for_each(bertc: Ran) -> None:
    code, out, _ = bertc()
    names = [spec.id for spec in list_targets()]
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == [*names, "native:"]


@pytest.mark.parametrize("spec", list_targets(), ids=lambda spec: spec.id)
def test_show_tells_everything_and_why(bertc: Ran, spec: TargetSpec) -> None:
    code, out, err = bertc("show", spec.id)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"{spec.id}: {spec.description}"
    reasons = [*spec.why, *(each for runtime in spec.runtimes for each in runtime.why)]
    for text in (*reasons, *spec.boards, *spec.compute_capabilities, f"{spec.memory_mb} MiB"):
        assert text in out
    document = json.loads(bertc("show", spec.id, "--json")[1])
    assert document["why"] == list(spec.why)
    assert [each["why"] for each in document["runtimes"]] == [list(each.why) for each in spec.runtimes]
    assert document in json.loads(bertc("--json")[1])["targets"]


SHOWN = {
    "intel-npu": [
        "device       OpenVINO's NPU",
        "on         OpenVINO's NPU",
        "fixed: 32, 64, 128, 256, 512 tokens, one text at a time, padded to the next",
        "simulated; it cannot be emulated: on another machine the same graph is simulated on the CPU",
        "signed 8 bits (s8), symmetric around zero",
    ],
    "intel-igpu": ["device       OpenVINO's GPU", "lengths    any"],
    "raspberry-pi-5": [
        "boards       Raspberry Pi 5",
        "emulated; on another machine emulated as cortex-a76, with the real kernels",
    ],
    "x86-64-avx2": [
        "measured; on another machine emulated as haswell",
        "to +-64, half of the range, against saturation",
        "on         the CPU",
    ],
    "x86-64-vnni": [
        "on another machine its exact integer arithmetic is simulated on the CPU",
        "products of signed 8-bit operands",
    ],
    "rtx-ampere": [
        "`--precision int8` is 8-bit weights in products of 16-bit floats",
        "1x16 / 1x128 / 8x512",
    ],
}


@pytest.mark.parametrize("name", SHOWN)
def test_show_says_it_in_words(bertc: Ran, name: str) -> None:
    _, out, _ = bertc("show", name)
    for text in SHOWN[name]:
        assert text in out


def test_json_has_what_follows_from_the_fields(bertc: Ran) -> None:
    document = json.loads(bertc("show", "intel-npu", "--json")[1])
    assert document["devices"] == ["NPU"]
    assert document["runtimes"][0]["lengths"] == [32, 64, 128, 256, 512]
    assert (document["emulation"], document["evidence_elsewhere"]) == (None, "simulated")
    assert document["saturates"] is False
    assert json.loads(bertc("show", "x86-64-avx2", "--json")[1])["evidence_elsewhere"] == "emulated"


def test_show_takes_a_profile_by_its_path(bertc: Ran, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(NPU.replace('"intel-npu"', '"my-npu"'), encoding="utf-8")
    code, out, _ = bertc("show", path)
    assert (code, out.splitlines()[0]) == (0, "my-npu: Intel Core Ultra: the NPU, through OpenVINO")


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ('device = "NPU"', 'device = "TPU"', "runtimes[0].device must be one of CPU, GPU, NPU, not 'TPU'"),
        (
            "lengths = [32, 64,",
            "lengths = [64, 32,",
            "runtimes[0].lengths must be at most 32 integers, ascending",
        ),
        ("memory_mb = 1024", "memory = 1024", "memory_mb is missing"),
    ],
)
def test_a_wrong_profile_names_the_key(bertc: Ran, tmp_path: Path, old: str, new: str, key: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(NPU.replace(old, new), encoding="utf-8")
    code, out, err = bertc("show", path)
    assert (code, out) == (2, "")
    first, second = err.splitlines()
    assert first.startswith(f"error: target profile {path}: {key}")
    assert second.startswith("hint: ")


def test_no_target_on_openvinos_devices_saturates() -> None:
    assert get_target("intel-npu").devices == ("NPU",)
    assert not get_target("intel-igpu").saturates
