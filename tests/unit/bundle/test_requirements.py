"""What a bundle needs and what a machine has: the report, the error made of it, and `bertc check-device`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from compiler.package import write_bundle
from targets.bundle import device
from targets.bundle.parse import parse_manifest
from targets.bundle.requirements import check_device, device_report
from targets.bundle.schema import EngineRecord, EngineVariant, RuntimeSpec, TargetRecord
from targets.cli import device_group
from targets.cli_errors import main_guard
from targets.detect import Machine
from targets.errors import IncompatibleError, IntegrityError, MissingBackendError
from targets.gpu import Gpu, Gpus
from targets.registry import get_target
from targets.spec import ShapeRange
from tests.support.bundles import FILES, listed_manifest, sample_manifest, write_sample

SCHEMA = json.loads(
    (Path(__file__).resolve().parents[3] / "docs" / "schemas" / "check-device.schema.json").read_bytes()
)
ICE_LAKE = Machine("x86_64", "linux", "Ice Lake", frozenset({"avx2", "avx512_vnni"}), 4, 8192)
ZEN_2 = replace(ICE_LAKE, cpu_model="Zen 2", cpu_features=frozenset({"avx2"}))
OLD = replace(ICE_LAKE, cpu_model="Old", cpu_features=frozenset({"sse4_2"}))
PI_5 = Machine("aarch64", "linux", "A76", frozenset({"asimd", "asimddp"}), 4, 8192, "Raspberry Pi 5 Model B")
VNNI = TargetRecord.of(get_target("x86-64-vnni"))
CPU = RuntimeSpec("openvino", "2024.6", "2026.4", "model/openvino_model.xml", "int8")
NPU = replace(CPU, device="NPU", lengths=(32, 64))
ORIN = TargetRecord.of(get_target("jetson-orin"))
TENSORRT = RuntimeSpec("tensorrt", "10.3", "10.3", "model/model.onnx", "int8")
ENGINE = EngineRecord(
    ShapeRange((1, 16), (1, 128), (8, 512)), (EngineVariant("int8", "model/model.onnx"),), (), 256, ""
)

Ran = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The versions of the backends that there are."""
    there = {"openvino": "2026.4.1-1-abc", "onnxruntime": "1.32.0"}
    monkeypatch.setattr(device, "is_installed", there.__contains__)
    monkeypatch.setattr(device, "backend_version", there.__getitem__)
    monkeypatch.setattr(device, "openvino_devices", lambda: ("CPU", "GPU.0", "GPU.1"))
    monkeypatch.setattr(device, "gpus", lambda: Gpus(reason="there is no NVIDIA driver"))
    return there


def rows(*arguments: Any) -> dict[str, tuple[str, str, bool]]:
    return {each.name: (each.needs, each.has, each.ok) for each in device_report(*arguments)}


def refusal(*arguments: Any, **options: Any) -> IncompatibleError:
    with pytest.raises(IncompatibleError) as caught:
        check_device(*arguments, **options)
    return caught.value


def test_a_machine_that_fits() -> None:
    assert rows(VNNI, CPU, ICE_LAKE) == {
        "system": ("linux", "linux", True),
        "architecture": ("x86_64", "x86_64", True),
        "CPU features": ("avx2 and (avx512_vnni or avx_vnni)", "avx2, avx512_vnni (Ice Lake)", True),
        "memory": ("512 MiB", "8192 MiB", True),
        "backend": ("openvino 2024.6 or later", "openvino 2026.4.1-1-abc", True),
    }
    check_device(VNNI, CPU, ICE_LAKE)
    unknown = replace(ICE_LAKE, memory_mb=0)
    assert rows(VNNI, CPU, unknown)["memory"] == ("512 MiB", "not known", True)
    nothing = rows(replace(VNNI, cpu_features=(), arch="any"), CPU, OLD)
    assert nothing["CPU features"] == ("none", "Old", True)
    assert nothing["architecture"] == ("any", "x86_64", True)


def test_everything_that_is_missing_is_named() -> None:
    small = replace(PI_5, os="freebsd", memory_mb=100)
    error = refusal(VNNI, replace(CPU, minimum_version="2027.1"), small)
    assert error.message == (
        "the bundle is for linux, this is freebsd; "
        "the bundle is for x86_64, this is aarch64; "
        "the CPU (A76) has no avx2 and (avx512_vnni or avx_vnni), which the bundle needs; "
        "the bundle needs a device with 512 MiB of memory, this has 100; "
        "openvino 2026.4.1-1-abc is older than 2027.1, which the bundle needs"
    )
    assert error.hint.endswith("or no other target fits this machine: run the bundle on another one")


@pytest.mark.parametrize(
    ("machine", "instead"),
    [(ZEN_2, "x86-64-avx2"), (PI_5, "raspberry-pi-5"), (replace(PI_5, board=""), "arm64-generic")],
)
def test_the_hint_names_the_target_to_compile_for(machine: Machine, instead: str) -> None:
    hint = refusal(VNNI, CPU, machine).hint
    assert hint == f"compile the model for this machine: bertc compile MODEL --target {instead}"


def test_no_target_fits() -> None:
    assert "no other target fits" in refusal(VNNI, CPU, OLD).hint
    assert "no other target fits" in refusal(VNNI, CPU, replace(ZEN_2, memory_mb=300)).hint
    # Another compile for the same target would need as much.
    crowded = refusal(VNNI, CPU, replace(ICE_LAKE, memory_mb=300))
    assert crowded.hint.startswith("raise the memory limit, or compile a smaller model")
    assert "--target" not in crowded.hint


def test_a_backend_alone_that_is_missing(installed: dict[str, str]) -> None:
    del installed["openvino"]
    for runtime in (CPU, NPU):
        with pytest.raises(MissingBackendError) as caught:
            check_device(VNNI, runtime, ICE_LAKE)
        assert caught.value.hint == 'pip install "bertc[openvino]"'
    assert rows(VNNI, NPU, ICE_LAKE)["device"] == ("OpenVINO's NPU", "not known without openvino", False)
    assert refusal(VNNI, CPU, ZEN_2).message.endswith("openvino, which runs this bundle, is not installed")


def test_a_backend_alone_that_is_too_old() -> None:
    error = refusal(VNNI, replace(CPU, minimum_version="2027.1"), ICE_LAKE)
    assert error.hint == 'pip install --upgrade "openvino>=2027.1"'


def test_a_device_of_openvino() -> None:
    gpu = replace(CPU, device="GPU")
    check_device(VNNI, gpu, ICE_LAKE)
    assert rows(VNNI, gpu, ICE_LAKE)["device"] == ("OpenVINO's GPU", "CPU, GPU.0, GPU.1", True)
    target = TargetRecord.of(get_target("intel-npu"))
    error = refusal(target, NPU, ZEN_2)
    assert error.message == "OpenVINO finds no NPU here (it has: CPU, GPU.0, GPU.1)"
    assert error.hint == (
        "install Intel's NPU driver (github.com/intel/linux-npu-driver), on Linux 6.6 or later, "
        "or compile the model for this machine: bertc compile MODEL --target x86-64-avx2"
    )


def test_devices_are_asked_for_where_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Any:
        raise AssertionError("OpenVINO was started")

    monkeypatch.setattr(device, "openvino_devices", refuse)
    device_report(VNNI, CPU, ICE_LAKE)
    device_report(VNNI, replace(NPU, minimum_version="2027.1"), ICE_LAKE)


def test_the_devices_that_openvino_really_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert device.finds_device(device.openvino_devices(), "CPU")
    assert not device.finds_device(("CPU", "GPUX"), "GPU")


def test_an_nvidia_gpu(monkeypatch: pytest.MonkeyPatch, installed: dict[str, str]) -> None:
    installed["tensorrt"] = "10.3.0"
    error = refusal(ORIN, TENSORRT, PI_5, engine=ENGINE)
    assert error.message == "it needs a GPU of compute capability 8.7, and there is no NVIDIA driver"
    assert error.hint.endswith("--target raspberry-pi-5")
    monkeypatch.setattr(device, "gpus", lambda: Gpus((Gpu(0, "Orin", "8.7", 30_000),), "12.6"))
    check_device(ORIN, TENSORRT, PI_5, engine=ENGINE)
    assert rows(ORIN, TENSORRT, PI_5, ENGINE)["GPU"] == (
        "NVIDIA, compute capability 8.7, 2048 MiB",
        "Orin, compute capability 8.7, 30000 MiB",
        True,
    )


@pytest.fixture
def bertc(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ran:
    def call(machine: Machine, *argv: object) -> tuple[int, str, str]:
        monkeypatch.setattr("targets.detect.machine", lambda: machine)
        code = main_guard(device_group(), ["check-device", *map(str, argv)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_the_command(bertc: Ran, tmp_path: Path, installed: dict[str, str]) -> None:
    path = write_sample(tmp_path / "b").path
    code, out, err = bertc(ICE_LAKE, path)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "tiny, compiled for x86-64-vnni on onnxruntime"
    assert lines[1].split() == ["needs", "has"]
    assert lines[2].split() == ["system", "linux", "linux", "ok"]
    assert lines[-1] == "this machine can run it"
    code, out, err = bertc(ZEN_2, path)
    assert code == 6
    assert "MISSING" in next(line for line in out.splitlines() if line.startswith("CPU features"))
    assert out.splitlines()[-1].endswith("--target x86-64-avx2")
    assert "Zen 2" in err
    assert "--target x86-64-avx2" in err
    code, out, _ = bertc(OLD, path)
    assert code == 6
    assert out.splitlines()[-1].startswith("no other target fits this machine")
    installed.clear()
    code, out, err = bertc(ICE_LAKE, path)
    assert code == 7
    assert out.splitlines()[-1] == "install the backend that it needs"
    assert "pip install" in err


def test_the_command_as_json(bertc: Ran, tmp_path: Path) -> None:
    path = write_sample(tmp_path / "b").path
    for machine, code, instead in ((ICE_LAKE, 0, None), (ZEN_2, 6, "x86-64-avx2"), (OLD, 6, None)):
        ended, out, _ = bertc(machine, path, "--json")
        document = json.loads(out)
        jsonschema.validate(document, SCHEMA)
        assert (ended, document["ok"], document["instead"]) == (code, code == 0, instead)
    assert {each["name"] for each in document["requirements"] if not each["ok"]} == {"CPU features"}
    assert bertc(ICE_LAKE, tmp_path)[0] == 2


def test_nothing_of_the_bundle_is_read_but_its_manifest(bertc: Ran, tmp_path: Path) -> None:
    files = {**FILES, "model/model.xml": ("model", b"no XML"), "model/model.bin": ("model", b"")}
    runtime = replace(NPU, model="model/model.xml")
    manifest = replace(sample_manifest(), runtime=runtime, target=TargetRecord.of(get_target("intel-npu")))
    path = write_bundle(tmp_path / "n", manifest, files).path  # type: ignore[arg-type]
    code, out, err = bertc(ICE_LAKE, path)
    assert code == 6
    (row,) = (line for line in out.splitlines() if line.startswith("device"))
    assert row.split()[-1] == "MISSING"
    assert "install Intel's NPU driver" in err


def on_device(device: str, lengths: list[int], backend: str = "openvino") -> bytes:
    """bundle.json of a sample for one of OpenVINO's devices."""
    document = json.loads(listed_manifest().to_json())
    document["runtime"].update(backend=backend, device=device, lengths=lengths)
    if backend == "openvino":
        document["runtime"]["model"] = "model/model.xml"
        for entry in [each for each in document["files"] if each["path"] == "model/model.onnx"]:
            document["files"] += [{**entry, "path": f"model/model.{suffix}"} for suffix in ("xml", "bin")]
    return json.dumps(document).encode()


def test_the_device_of_a_manifest() -> None:
    runtime = parse_manifest(on_device("NPU", [32, 64])).runtime
    assert (runtime.device, runtime.lengths) == ("NPU", (32, 64))
    assert parse_manifest(on_device("GPU", [])).runtime.device == "GPU"
    for device_, lengths, backend, message in (
        ("NPU", [], "openvino", "runtime.lengths must be given for an NPU"),
        ("NPU", [64, 32], "openvino", "runtime.lengths must be at most 32 integers, ascending"),
        ("TPU", [], "openvino", "runtime.device must be one of CPU, GPU, NPU"),
        ("GPU", [], "onnxruntime", "runtime.device and runtime.lengths are OpenVINO's"),
    ):
        with pytest.raises(IntegrityError, match=message):
            parse_manifest(on_device(device_, lengths, backend))
