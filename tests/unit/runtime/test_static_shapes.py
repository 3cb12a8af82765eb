"""Devices of OpenVINO that run fixed lengths alone, for which its CPU stands; what each device is asked."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compiler.package import write_bundle
from targets.bundle.reader import Bundle
from targets.errors import IncompatibleError, UnsupportedError, UsageError
from targets.runtime.backends import open_backend
from targets.runtime.backends.openvino_devices import ALLOWED_OPTIONS, compile_properties
from targets.runtime.profile.run import profiler_of
from targets.runtime.session import Session
from targets.runtime.settings import DYNAMIC, RunSettings, default_settings
from targets.runtime.tune.run import check_bundles
from tests.support.tiny_runtime import (
    model_files,
    onnx_model,
    session,
    table,
    tiny_bundle,
    tiny_manifest,
    wordpiece,
    wordpiece_spec,
)

VALUES = table(3)
FILES = tuple(model_files("openvino", onnx_model("token-classification", VALUES)).values())
TEXTS = ["a good film", "bad", "the film was good in berlin . " * 3, "who wrote it ?", "good " * 20]
TASKS = {
    "text-classification": TEXTS,
    "token-classification": TEXTS,
    "fill-mask": ["the film was [MASK] .", "it was a [MASK] film in new york"],
    "feature-extraction": TEXTS,
    "question-answering": [("who wrote it ?", "it was maria silva . " * n) for n in (1, 4, 12)],
}


def opened(lengths: tuple[int, ...]) -> Any:
    return open_backend("openvino", *FILES, threads=1, lengths=lengths)


def feeds(batch: int, length: int) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(length).integers(0, len(VALUES), size=(batch, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


def static_bundle(
    output: Path, task: str, *, lengths: tuple[int, ...] = (8, 16, 32), side: Any = "right"
) -> Bundle:
    manifest = tiny_manifest("openvino", task, ("a", "b", "c"))
    manifest = replace(
        manifest,
        runtime=replace(manifest.runtime, lengths=lengths),
        tokenizer=wordpiece_spec(64, side),
    )
    models = model_files("openvino", onnx_model(task, VALUES))
    files: dict[str, Any] = {path: ("model", data) for path, data in models.items()}
    files["tokenizer/tokenizer.json"] = ("tokenizer", wordpiece().to_str().encode())
    files["selftest.json"] = ("selftest", b"{}")
    return write_bundle(output, manifest, files)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("task", TASKS)
def test_fixed_lengths_answer_as_the_dynamic_model(tmp_path: Path, task: str, side: str) -> None:
    bundle = static_bundle(tmp_path / "b", task, side=side)
    items: Any = TASKS[task]
    with (
        Session.from_bundle(bundle, threads=1, batch_size=8) as fixed,
        session("openvino", task, VALUES, ("a", "b", "c"), side=side, max_length=32) as plain,
    ):
        own, expected = fixed.infer(items), plain.infer(items)
        for a, b in zip(own, expected, strict=True):
            assert [each.encoding for each in a.windows] == [each.encoding for each in b.windows]
            for one, other in zip(a.windows, b.windows, strict=True):
                for name, value in other.outputs.items():
                    np.testing.assert_allclose(one.outputs[name], value, atol=1e-5)
        ragged = {
            "input_ids": np.array([[2, 7, 9, 3, 0], [2, 8, 9, 10, 3], [2, 3, 0, 0, 0]]),
            "attention_mask": np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]),
        }
        for name, value in plain.run(ragged).items():
            found = fixed.run(ragged)[name]
            assert found.shape == value.shape
            np.testing.assert_allclose(found, value, atol=1e-5)
        assert set(fixed.shapes) <= {8, 16, 32}


def test_only_the_fixed_lengths_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    import openvino as ov

    shapes, compile_model = [], ov.Core.compile_model

    def watch(core: Any, model: Any, *rest: Any) -> Any:
        shapes.append([list(port.get_partial_shape().to_shape()) for port in model.inputs])
        return compile_model(core, model, *rest)

    monkeypatch.setattr(ov.Core, "compile_model", watch)
    backend = opened((4, 8, 16))
    assert list(backend.shapes) == [4]
    assert [backend.padded(batch, length) for batch, length in ((1, 1), (3, 4), (1, 5), (2, 16))] == [
        4,
        4,
        8,
        16,
    ]
    assert backend.run(feeds(2, 16))["logits"].shape == (2, 16, 3)
    assert list(backend.prepare([3, 5, 6])) == [4, 8]
    assert shapes == [[[1, length]] * 3 for length in (4, 16, 8)]
    backend.close()


def test_a_length_that_is_not_there() -> None:
    backend = opened((4, 8))
    with pytest.raises(UsageError, match="a run of 5 tokens") as caught:
        backend.run(feeds(1, 5))
    assert "4, 8" in caught.value.hint
    with pytest.raises(UsageError, match="9 tokens in a row"):
        backend.padded(1, 9)
    backend.close()
    assert backend.shapes == {}
    with pytest.raises(UsageError, match="session is closed"):
        backend.run(feeds(1, 4))


def test_a_batch_is_the_texts_of_it() -> None:
    backend, dynamic = opened((8,)), open_backend("openvino", *FILES, threads=1, shapes=DYNAMIC)
    batch = feeds(5, 8)
    np.testing.assert_allclose(backend.run(batch)["logits"], dynamic.run(batch)["logits"], atol=1e-6)
    first = backend.run(batch)["logits"]
    backend.run(feeds(1, 8))
    np.testing.assert_array_equal(first, backend.run(batch)["logits"])


def test_many_threads_share_the_models() -> None:
    backend, found = opened((4, 8)), {}

    def work(length: int) -> None:
        found[length] = [backend.run(feeds(2, length))["logits"] for _ in range(20)]

    threads = [threading.Thread(target=work, args=(length,)) for length in (4, 8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for length, runs in found.items():
        assert all(np.array_equal(runs[0], each) for each in runs)
        assert runs[0].shape == (2, length, 3)


def test_no_text_is_longer_than_the_largest_length(tmp_path: Path) -> None:
    bundle = static_bundle(tmp_path / "b", "text-classification", lengths=(8, 16))
    assert (bundle.manifest.max_length, bundle.manifest.tokenizer.max_length) == (16, 64)
    with bundle.session(threads=1) as one:
        (found,) = one.infer(["good " * 30])
        assert len(found.windows[0].encoding) == 16
        assert (one.truncated, one.truncated_tokens) == (1, 16)
        with pytest.raises(UsageError, match="17 tokens in a row"):
            one.run({"input_ids": np.full((1, 17), 7)})
    plain = tiny_bundle(tmp_path / "p", "openvino", "text-classification", VALUES)
    assert plain.manifest.max_length == 64


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(IncompatibleError, match="cannot load the model on the NPU") as caught:
        open_backend("openvino", *FILES, device="NPU", lengths=(8,))
    assert "check-device" in caught.value.hint
    with pytest.raises(UsageError, match="onnxruntime has no devices"):
        open_backend("onnxruntime", b"", device="GPU")


def test_what_each_device_is_asked_for() -> None:
    cpu = compile_properties("CPU", {}, 3, 2)
    assert cpu["INFERENCE_PRECISION_HINT"] == "f32"
    assert (cpu["INFERENCE_NUM_THREADS"], cpu["NUM_STREAMS"]) == ("3", "2")
    assert int(cpu["CPU_RUNTIME_CACHE_CAPACITY"]) <= 500, "5,000 kernels are gigabytes"
    half = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f16"}
    for device in ("GPU", "NPU"):
        assert compile_properties(device, {}, 3, 2) == half
        for option in ("NUM_STREAMS", "ENABLE_CPU_PINNING", "SCHEDULING_CORE_TYPE"):
            assert option in ALLOWED_OPTIONS["CPU"]
            with pytest.raises(UnsupportedError, match=f"not allowed for openvino on {device}"):
                compile_properties(device, {option: "YES"}, 1)
    assert (
        compile_properties("GPU", {"INFERENCE_PRECISION_HINT": "f32"}, 1)["INFERENCE_PRECISION_HINT"] == "f32"
    )
    with pytest.raises(UnsupportedError, match="cannot be 'f32'"):
        compile_properties("NPU", {"INFERENCE_PRECISION_HINT": "f32"}, 1)


def test_what_was_measured_on_cpus_is_left_out_elsewhere(tmp_path: Path) -> None:
    plain = RunSettings(shapes=DYNAMIC)
    assert default_settings("openvino", "throughput", 4, "GPU") == plain
    assert default_settings("openvino", "latency", 4, "NPU") == plain
    assert default_settings("openvino", "throughput", 4).streams == 4
    bundle = static_bundle(tmp_path / "b", "text-classification")
    manifest = replace(bundle.manifest, runtime=replace(bundle.manifest.runtime, device="NPU"))
    with pytest.raises(UnsupportedError, match="runs on the NPU"):
        check_bundles([Bundle(bundle.path, manifest, b"")])
    with pytest.raises(UnsupportedError, match="no profiler for openvino on this device"):
        profiler_of(Bundle(bundle.path, manifest, b""), 1)
