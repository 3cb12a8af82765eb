from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from targets.errors import (
    FailedRunError,
    IncompatibleError,
    IntegrityError,
    MissingBackendError,
    UnsupportedError,
    UsageError,
)
from targets.runtime.backends import open_backend, open_backend_from_path
from targets.runtime.backends.onnx_guard import check_self_contained
from targets.runtime.backends.threads import resolve_threads
from tests.support.tiny_runtime import RUNTIMES, model_files, onnx_model, table

TABLE = table(3)
MODEL = onnx_model("token-classification", TABLE, type_ids=False)


def opened(runtime: str, **options: Any) -> Any:
    return open_backend(runtime, *model_files(runtime, MODEL).values(), threads=1, **options)


def feeds(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(1).integers(0, len(TABLE), size=shape)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_runs_every_shape_and_owns_its_results(runtime: str) -> None:
    backend = opened(runtime)
    assert backend.name == runtime
    assert backend.version[0].isdigit()
    assert set(backend.input_names) == {"input_ids", "attention_mask"}
    assert backend.output_names == ("logits",)
    first_feeds = feeds((2, 5))
    first = backend.run(first_feeds)["logits"]
    for shape in ((1, 1), (3, 7), (2, 5)):
        given_feeds = feeds(shape)
        result = backend.run(given_feeds, ["logits"])
        np.testing.assert_array_equal(result["logits"], TABLE[given_feeds["input_ids"]])
        assert result["logits"].dtype == np.float32
    np.testing.assert_array_equal(first, TABLE[first_feeds["input_ids"]])
    backend.close()
    backend.close()
    with pytest.raises(UsageError, match="session is closed"):
        backend.run(first_feeds)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_from_path_takes_onnx(runtime: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(MODEL)
    given_feeds = feeds((2, 4))
    result = open_backend_from_path(runtime, path, threads=1).run(given_feeds)["logits"]
    np.testing.assert_array_equal(result, TABLE[given_feeds["input_ids"]])
    with pytest.raises(UsageError, match="no model at"):
        open_backend_from_path(runtime, tmp_path / "missing.onnx")


def test_from_path_takes_openvino_xml(tmp_path: Path) -> None:
    for path, data in model_files("openvino", MODEL).items():
        (tmp_path / Path(path).name).write_bytes(data)
    backend = open_backend_from_path("openvino", tmp_path / "openvino_model.xml", threads=1)
    given_feeds = feeds((1, 4))
    np.testing.assert_array_equal(backend.run(given_feeds)["logits"], TABLE[given_feeds["input_ids"]])


@pytest.mark.parametrize(
    ("runtime", "options", "problem"),
    [
        ("onnxruntime", {"session.load_model_format": "ORT"}, "is not allowed"),
        ("onnxruntime", {"session.x64quantprecision": "2"}, "cannot be"),
        ("onnxruntime", {"session.dynamic_block_base": "-1"}, "whole number"),
        ("openvino", {"CACHE_DIR": "/tmp/x"}, "is not allowed"),
        ("openvino", {"INFERENCE_PRECISION_HINT": "f64"}, "cannot be"),
        ("openvino", {"NUM_STREAMS": "AUTO"}, "whole number"),
    ],
)
def test_options_off_the_list_are_refused(runtime: str, options: dict[str, str], problem: str) -> None:
    with pytest.raises(UnsupportedError, match=problem):
        opened(runtime, options=options)


@pytest.mark.parametrize(
    ("runtime", "options"),
    [
        ("onnxruntime", {"graph_optimization_level": "basic", "session.intra_op.allow_spinning": "0"}),
        ("openvino", {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": str(2**64 - 1)}),
    ],
)
def test_options_on_the_list_are_taken(runtime: str, options: dict[str, str]) -> None:
    given_feeds = feeds((1, 3))
    result = opened(runtime, options=options).run(given_feeds)["logits"]
    np.testing.assert_array_equal(result, TABLE[given_feeds["input_ids"]])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_damaged_model_is_one_error(runtime: str) -> None:
    files = list(model_files(runtime, MODEL).values())
    files[0] = files[0][: len(files[0]) // 2]
    with pytest.raises((IncompatibleError, IntegrityError)) as caught:
        open_backend(runtime, *files)
    assert "\n" not in caught.value.message
    assert caught.value.hint


def test_openvino_weights_that_are_too_short() -> None:
    xml, weights = model_files("openvino", MODEL).values()
    with pytest.raises(IntegrityError, match="a constant is not within the weights"):
        open_backend("openvino", xml, weights[:4])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_failing_run_is_one_error(runtime: str) -> None:
    backend = opened(runtime)
    with pytest.raises(FailedRunError, match="failed to run") as caught:
        backend.run(
            {"input_ids": np.zeros((1, 2, 3), np.int64), "attention_mask": np.zeros((1, 2), np.int64)}
        )
    assert "\n" not in caught.value.message


def test_unknown_runtime_and_threads() -> None:
    with pytest.raises(UsageError, match="no runtime 'tvm'"):
        open_backend("tvm", b"")
    with pytest.raises(UsageError, match="threads"):
        open_backend("onnxruntime", MODEL, threads=-1)
    assert resolve_threads(3) == 3
    assert 1 <= resolve_threads(0) <= 4096


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_missing_backend_says_what_to_install(runtime: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: ImportError) -> Any:
        def import_module(_: str) -> Any:
            raise error

        return import_module

    monkeypatch.setattr(importlib, "import_module", fail(ModuleNotFoundError("no", name=runtime)))
    with pytest.raises(MissingBackendError) as caught:
        open_backend(runtime, MODEL)
    assert f'pip install "bertc[{runtime}]"' in caught.value.hint
    monkeypatch.setattr(importlib, "import_module", fail(ModuleNotFoundError("no", name="flatbuffers")))
    with pytest.raises(IncompatibleError, match="dependency flatbuffers"):
        open_backend(runtime, MODEL)
    monkeypatch.setattr(importlib, "import_module", fail(ImportError("libgomp.so.1: cannot open")))
    with pytest.raises(IncompatibleError, match="does not load: libgomp"):
        open_backend(runtime, MODEL)


def graph_of(*nodes: onnx.NodeProto, tensors: tuple[onnx.TensorProto, ...] = ()) -> onnx.GraphProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    return helper.make_graph(list(nodes), "g", [value], [value], list(tensors))


def external() -> onnx.TensorProto:
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def in_branch(inner: onnx.GraphProto) -> onnx.GraphProto:
    return graph_of(helper.make_node("If", ["c"], ["x"], then_branch=inner, else_branch=graph_of()))


@pytest.mark.parametrize(
    ("graph", "problem"),
    [
        (graph_of(tensors=(external(),)), "weights in another file"),
        (graph_of(helper.make_node("Constant", [], ["x"], value=external())), "weights in another file"),
        (in_branch(graph_of(tensors=(external(),))), "weights in another file"),
        (graph_of(helper.make_node("Run", ["x"], ["x"], domain="evil.ops")), "domain 'evil.ops'"),
        (in_branch(graph_of(helper.make_node("Run", ["x"], ["x"], domain="evil"))), "domain 'evil'"),
    ],
)
def test_a_model_that_reaches_outside_is_refused(graph: onnx.GraphProto, problem: str) -> None:
    data = helper.make_model(graph).SerializeToString()
    with pytest.raises(UnsupportedError, match=problem):
        check_self_contained(data)
    with pytest.raises(UnsupportedError, match=problem):
        open_backend("onnxruntime", data)


def test_functions_and_deep_nesting_are_refused() -> None:
    model = helper.make_model(graph_of())
    model.functions.append(helper.make_function("f", "F", ["a"], ["a"], [], [helper.make_opsetid("", 18)]))
    with pytest.raises(UnsupportedError, match="functions"):
        check_self_contained(model.SerializeToString())
    graph = graph_of()
    for _ in range(12):
        graph = in_branch(graph)
    with pytest.raises(IntegrityError, match="nested too deep"):
        check_self_contained(helper.make_model(graph).SerializeToString())


def test_the_guard_accepts_what_it_should() -> None:
    check_self_contained(MODEL)
    node = helper.make_node("Gelu", ["x"], ["x"], domain="com.microsoft")
    check_self_contained(helper.make_model(graph_of(node)).SerializeToString())


@given(st.binary(max_size=200))
def test_the_guard_survives_any_bytes(data: bytes) -> None:
    with contextlib.suppress(UnsupportedError, IntegrityError):
        check_self_contained(data)


@given(st.integers(0, len(MODEL) - 1), st.integers(0, 255))
def test_the_guard_survives_a_changed_byte(position: int, value: int) -> None:
    data = MODEL[:position] + bytes([value]) + MODEL[position + 1 :]
    with contextlib.suppress(UnsupportedError, IntegrityError):
        check_self_contained(data)
