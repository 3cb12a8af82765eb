"""`bertc build`, on doubles of TensorRT and CUDA: an interface test, which builds and runs no engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.package import write_bundle
from targets.bundle import device
from targets.bundle.reader import Bundle
from targets.bundle.schema import EngineRecord, EngineVariant, RuntimeSpec, TargetRecord
from targets.cli import device_group
from targets.cli_errors import main_guard
from targets.detect import machine
from targets.gpu import Gpu, Gpus
from targets.runtime.backends import tensorrt as backend_module
from targets.runtime.engine import device_build
from targets.runtime.selftest import Tolerance, make_selftest
from targets.spec import ShapeRange
from tests.support.tensorrt_double import BuilderDouble, CudaDouble
from tests.support.tiny_runtime import onnx_model, session, table, tiny_bundle, tiny_manifest, wordpiece

LIMITS = ((1, 4), (1, 8), (2, 32))
ORIN = Gpus((Gpu(0, "Orin", "8.7", 30_000),), "12.6")
GOOD, OTHER = table(2, seed=1), table(2, seed=2)
TASK = "text-classification"
LABELS = ("negative", "positive")
Ran = Callable[..., tuple[int, str, str]]


def make_bundle(folder: Path, *models: Any) -> Path:
    """A bundle of variants int8 and fp16, whose self-test is what `GOOD` computes."""
    with session("onnxruntime", TASK, GOOD) as opened:
        golden = make_selftest(opened, ["good film", "the bad film was in new york"], Tolerance(1e-4, 1e-4))
    paths = ("model/model.onnx", "model/model-fp16.onnx")[: len(models)]
    this = machine()
    manifest = replace(
        tiny_manifest("onnxruntime", TASK, LABELS),
        target=TargetRecord("jetson-orin", this.arch, this.os, (), 1, ("8.7",)),
        runtime=RuntimeSpec("tensorrt", "10.0", "10.0", paths[0], "int8"),
        engine=EngineRecord(
            ShapeRange(*LIMITS),
            tuple(
                EngineVariant(precision, path)  # type: ignore[arg-type]
                for precision, path in zip(("int8", "fp16"), paths, strict=False)
            ),
            (),
            256,
            "not known",
        ),
    )
    files: dict[str, Any] = {
        path: ("model", onnx_model(TASK, values)) for path, values in zip(paths, models, strict=True)
    }
    files["tokenizer/tokenizer.json"] = ("tokenizer", wordpiece().to_str().encode())
    files["selftest.json"] = ("selftest", golden)
    return write_bundle(folder / "jetson.bundle", manifest, files).path


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> BuilderDouble:
    """TensorRT 10.13 on an Orin, none of which is there."""
    double = BuilderDouble(LIMITS)
    monkeypatch.setenv("BERTC_CACHE_DIR", str(tmp_path / "cache"))
    for module in (device_build, backend_module):
        monkeypatch.setattr(module, "load_tensorrt", lambda _: double.module())
    monkeypatch.setattr(backend_module, "load_cuda", CudaDouble)
    for module in (device, device_build):
        monkeypatch.setattr(module, "gpus", lambda: ORIN)
    monkeypatch.setattr(device, "check_backend", lambda _: None)
    return double


@pytest.fixture
def bertc(capsys: pytest.CaptureFixture[str]) -> Ran:
    def call(*argv: object) -> tuple[int, str, str]:
        code = main_guard(device_group(), [str(each) for each in argv])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_what_is_asked_of_tensorrt_and_in_which_order(
    double: BuilderDouble, bertc: Ran, tmp_path: Path
) -> None:
    path = make_bundle(tmp_path, GOOD)
    code, out, err = bertc("build", path)
    assert code == 0, err
    graph = (path / "model/model.onnx").read_bytes()
    shapes = [("set_shape", name, *LIMITS) for name in ("input_ids", "attention_mask", "token_type_ids")]
    assert double.calls == [
        ("create_network", 2),
        ("parse", len(graph)),
        ("set_memory_pool_limit", "WORKSPACE", 256 << 20),
        ("create_timing_cache", b""),
        ("set_timing_cache", False),
        *shapes,
        ("add_optimization_profile",),
        ("build_serialized_network",),
    ]
    assert "int8" in out
    assert "self-test passed" in out
    assert "building int8: Building Engine" in err


def test_the_engine_is_kept_and_run(double: BuilderDouble, bertc: Ran, tmp_path: Path) -> None:
    path = make_bundle(tmp_path, GOOD, GOOD)
    code, _, err = bertc("run", path, "--text", "good film")
    assert code == 6
    assert f"bertc build {path}" in err
    assert bertc("build", path, "--json")[0] == 0
    built = len(double.engines)
    assert built == 2
    code, out, err = bertc("build", path, "--json")
    assert code == 0
    assert len(double.engines) == built, "it was there already"
    record = json.loads(out)
    assert {each["precision"] for each in record["variants"]} == {"int8", "fp16"}
    assert all(each["passed"] and each["p50_ms"] > 0 for each in record["variants"])
    code, out, _ = bertc("run", path, "--json", "--text", "good film")
    assert code == 0
    with session("onnxruntime", TASK, GOOD, LABELS) as opened:
        wanted = opened(["good film"])[0]
    assert json.loads(out)["label"] == wanted.label  # type: ignore[union-attr]
    assert bertc("selftest", path)[0] == 0
    assert bertc("build", path, "--force")[0] == 0
    assert len(double.engines) == built + 2
    assert ("create_timing_cache", b"timings") in double.calls


def test_a_session_builds_on_first_use_if_asked_to(double: BuilderDouble, bertc: Ran, tmp_path: Path) -> None:
    path = make_bundle(tmp_path, GOOD, GOOD)
    assert bertc("run", path, "--text", "good film")[0] == 6
    for _ in range(2):
        code, out, err = bertc("run", path, "--json", "--build", "--cuda-graphs", "--text", "good film")
        assert code == 0, err
        assert json.loads(out)["label"] in LABELS
    assert len(double.engines) == 2, "int8 and fp16, once"
    with Bundle.open(path).session(build=True) as opened:
        assert opened.backend.name == "tensorrt"


def test_a_variant_that_fails_its_self_test_is_left(
    double: BuilderDouble, bertc: Ran, tmp_path: Path
) -> None:
    code, out, err = bertc("build", make_bundle(tmp_path, OTHER, GOOD), "--json")
    assert code == 0, err
    record = json.loads(out)
    assert record["chosen"] == "fp16"
    assert [(each["passed"], each["p50_ms"] is None) for each in record["variants"]] == [
        (False, True),
        (True, False),
    ]
    del double


def test_no_variant_passes(double: BuilderDouble, bertc: Ran, tmp_path: Path) -> None:
    code, out, err = bertc("build", make_bundle(tmp_path, OTHER))
    assert (code, out) == (6, "")
    assert "the self-test failed on the engines of int8" in err
    del double


@pytest.mark.parametrize(("refuses", "told"), [("parse", "node 3"), ("build", "no kernel was found")])
def test_tensorrt_refuses(double: BuilderDouble, bertc: Ran, tmp_path: Path, refuses: str, told: str) -> None:
    double.refuses = refuses
    code, out, err = bertc("build", make_bundle(tmp_path, GOOD))
    assert (code, out) == (3, "")
    assert told in err


def test_version_compatible_is_another_engine(double: BuilderDouble, bertc: Ran, tmp_path: Path) -> None:
    path = make_bundle(tmp_path, GOOD)
    assert bertc("build", path, "--version-compatible")[0] == 0
    assert ("set_flag", "VERSION_COMPATIBLE") in double.calls
    assert bertc("build", path)[0] == 0
    assert len(double.engines) == 2


def test_an_engine_that_was_changed_is_refused(double: BuilderDouble, bertc: Ran, tmp_path: Path) -> None:
    path = make_bundle(tmp_path, GOOD)
    assert bertc("build", path)[0] == 0
    (engine,) = (tmp_path / "cache").rglob("*.engine")
    assert engine.stat().st_mode & 0o077 == 0
    engine.write_bytes(b"engine 7")
    code, _, err = bertc("run", path, "--text", "x")
    assert code == 5
    assert "--force" in err
    del double


def test_another_gpu_driver_or_version_has_an_engine_of_its_own(
    double: BuilderDouble, bertc: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_bundle(tmp_path, GOOD)
    assert bertc("build", path)[0] == 0
    monkeypatch.setattr(device_build, "gpus", lambda: replace(ORIN, driver="12.8"))
    assert bertc("run", path, "--text", "x")[0] == 6
    monkeypatch.setattr(device, "gpus", lambda: Gpus((Gpu(0, "Thor", "11.0", 30_000),), "13.0"))
    code, _, err = bertc("build", path)
    assert code == 6
    assert "Thor has 11.0" in err
    del double


def test_a_bundle_with_nothing_to_build(double: BuilderDouble, bertc: Ran, tmp_path: Path) -> None:
    path = tiny_bundle(tmp_path / "cpu", "onnxruntime", TASK, GOOD).path
    code, _, err = bertc("build", path)
    assert code == 2
    assert "has nothing to build on the device" in err
    assert double.calls == []


def test_without_a_gpu(bertc: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "gpus", lambda: Gpus(reason="there is no NVIDIA driver"))
    code, _, err = bertc("build", make_bundle(tmp_path, GOOD))
    assert code == 6
    assert "there is no NVIDIA driver" in err
    assert Bundle.open(tmp_path / "jetson.bundle").manifest.engine is not None
