"""`bertc bench --profile`: what is counted, what it adds up to, and what it is compared with."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import openvino as ov
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from openvino import opset13 as ops

from compiler.package import write_bundle
from targets.bundle.reader import Bundle
from targets.cli import device_group
from targets.cli_errors import main_guard
from targets.detect import machine
from targets.errors import UnsupportedError
from targets.runtime.profile import openvino as openvino_profile
from targets.runtime.profile import run
from targets.runtime.profile.onnxruntime import OnnxRuntimeProfiler, nodes_of
from targets.runtime.profile.openvino import OpenVinoProfiler, per_run
from targets.runtime.profile.record import ShapeProfile
from targets.runtime.profile.run import profile, profiler_of
from targets.runtime.profile.timing import middle, repeat, typical
from targets.runtime.settings import DYNAMIC, RunSettings
from tests.support.tiny_runtime import RUNTIMES, table, tiny_bundle, tiny_manifest, wordpiece

SCHEMA = Path(__file__).resolve().parents[3] / "docs" / "schemas" / "bench.schema.json"
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
WIDTH_IN, WIDTH_OUT = 64, 48
SECONDS = 0.05
OUTPUT = "sentence_embedding"
VNNI = not machine().missing_features((("avx512_vnni", "avx_vnni"),))


def weight() -> NDArray[np.int8]:
    return np.random.default_rng(0).integers(-127, 128, (WIDTH_IN, WIDTH_OUT), dtype=np.int8)


def embeddings() -> NDArray[np.float32]:
    size = (wordpiece().get_vocab_size(), WIDTH_IN)
    return np.random.default_rng(1).random(size, dtype=np.float32)


def feeds(batch: int, length: int) -> dict[str, NDArray[np.int64]]:
    return {name: np.ones((batch, length), np.int64) for name in INPUTS}


def onnx_product() -> bytes:
    """The mean over tokens of a row of the table by an INT8 weight."""
    constants: dict[str, NDArray[Any]] = {
        "table": embeddings(),
        "weight": weight(),
        "x_scale": np.array(1 / 255, np.float32),
        "x_zero": np.array(0, np.uint8),
        "scale": np.full(WIDTH_OUT, 1e-2, np.float32),
        "axis": np.array([1], np.int64),
    }
    quantized = ["quantized", "weight", "x_scale", "scale", "x_zero"]
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["row"]),
            helper.make_node("QuantizeLinear", ["row", "x_scale", "x_zero"], ["quantized"]),
            helper.make_node("MatMulIntegerToFloat", quantized, ["product"], domain="com.microsoft"),
            helper.make_node("ReduceMean", ["product", "axis"], [OUTPUT], keepdims=0),
        ],
        "product",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in INPUTS],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", WIDTH_OUT])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return data


def openvino_product(folder: Path, *, static: bool = True) -> tuple[bytes, bytes]:
    """The same for OpenVINO; without `static`, activations stay in float."""
    inputs = [ops.parameter([-1, -1], np.int64) for _ in INPUTS]
    for name, each in zip(INPUTS, inputs, strict=True):
        each.output(0).set_names({name})
    row = ops.gather(ops.constant(embeddings()), inputs[0], ops.constant(np.int64(0)))
    low, high = ops.constant(np.float32(0)), ops.constant(np.float32(1))
    if static:
        row = ops.fake_quantize(row, low, high, low, high, 256)
    columns = ops.convert(ops.constant(np.ascontiguousarray(weight().T)), "f32")
    dense = ops.multiply(columns, ops.constant(np.full((WIDTH_OUT, 1), 1e-2, np.float32)))
    result = ops.reduce_mean(ops.matmul(row, dense, False, True), ops.constant(np.array([1])))
    result.output(0).set_names({OUTPUT})
    ov.save_model(ov.Model([result], inputs, "product"), folder / "m.xml", compress_to_fp16=False)
    return (folder / "m.xml").read_bytes(), (folder / "m.bin").read_bytes()


@pytest.fixture(params=RUNTIMES)
def bundle(request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    """A bundle of one INT8 product, on each runtime."""
    files: dict[str, Any] = {
        "tokenizer/tokenizer.json": ("tokenizer", wordpiece().to_str().encode()),
        "selftest.json": ("selftest", b"{}"),
    }
    if request.param == "onnxruntime":
        files["model/model.onnx"] = ("model", onnx_product())
    else:
        model, weights = openvino_product(tmp_path)
        files["model/openvino_model.xml"] = ("model", model)
        files["model/openvino_model.bin"] = ("model", weights)
    manifest = tiny_manifest(request.param, "feature-extraction", ())
    return write_bundle(tmp_path / "product.bundle", manifest, files)


def test_the_products_are_counted_and_compared(bundle: Bundle) -> None:
    found = profile(bundle, [(1, 8), (2, 16)], seconds=SECONDS, threads=1)
    assert [(each.batch, each.length) for each in found] == [(1, 8), (2, 16)]
    for each in found:
        line = each.roofline
        assert line is not None
        assert line.macs == each.batch * each.length * WIDTH_IN * WIDTH_OUT
        (product,) = (kind for kind in each.kinds if kind.kind in PRODUCTS)
        assert product.count == 1
        assert product.ms == pytest.approx(line.ms, abs=1e-3)
        assert line.reached == pytest.approx(line.macs / (1e-3 * line.ms), rel=0.05)
        assert line.least_ms == pytest.approx(1e3 * line.macs / line.best, abs=1e-4)
        assert 0 < line.same_rows <= line.best < 1e14
    assert len({each.roofline.best for each in found if each.roofline is not None}) == 1


PRODUCTS = ("MatMulIntegerToFloat INT8", "FullyConnected INT8")


def test_bench_prints_and_writes_it(bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["bench", str(bundle.path), "--profile", "--shape", "2x16", "--threads", "1"]
    command += ["--seconds", str(SECONDS), "--iterations", "8"]
    assert main_guard(device_group(), [*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads(SCHEMA.read_bytes()))
    (each,) = document["profile"]
    assert each["roofline"]["macs"] == 2 * 16 * WIDTH_IN * WIDTH_OUT
    shares = [kind["share"] for kind in each["kinds"]]
    assert sum(shares) + each["outside_share"] == pytest.approx(1, abs=5e-3)
    spent = sum(kind["ms"] for kind in each["kinds"])
    assert spent + each["outside_ms"] == pytest.approx(each["observed_ms"], abs=1e-3)
    assert main_guard(device_group(), command) == 0
    told = capsys.readouterr().out
    for part in ("2x16: ", "outside of operators", "INT8 products: ", "of the best here", "at the best rate"):
        assert part in told


def test_a_run_in_float_has_no_roofline(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", "openvino", "text-classification", table(2), ("no", "yes"))
    (found,) = profile(bundle, [(1, 8)], seconds=SECONDS, threads=1)
    assert found.roofline is None
    assert found.kinds


def test_a_machine_without_an_int8_kernel_has_no_roofline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_float(rows: int, width_in: int, width_out: int) -> Any:
        source = ops.parameter([rows, width_in], np.float32)
        dense = np.ones((width_out, width_in), np.float32)
        return ov.Model([ops.matmul(source, ops.constant(dense), False, True)], [source], "product")

    monkeypatch.setattr(openvino_profile, "_product", in_float)
    profiler = OpenVinoProfiler(*openvino_product(tmp_path), 1, {})
    assert profiler.rate(16, 64, 64, SECONDS) == 0


def test_the_iterations_decide(tmp_path: Path) -> None:
    """Half an hour of seconds would not end."""
    bundle = tiny_bundle(tmp_path / "b", "onnxruntime", "text-classification", table(2), ("no", "yes"))
    (found,) = profile(bundle, [(1, 8)], seconds=1800, iterations=6, threads=1)
    assert 0 < found.wall_ms < 1e4


@pytest.mark.parametrize("asked", [None, 2])
def test_the_threads_are_those_of_the_session(
    bundle: Bundle, asked: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None stands for what the bundle was tuned to."""
    found: list[int] = []

    def remember(bundle: Bundle, threads: int) -> run.Profiler:
        found.append(threads)
        return profiler_of(bundle, threads)

    tuned = RunSettings(threads=3, shapes=DYNAMIC)
    monkeypatch.setattr("targets.runtime.session.settings_of", lambda *_: tuned)
    monkeypatch.setattr(run, "profiler_of", remember)
    profile(bundle, [(1, 8)], seconds=SECONDS, threads=asked)
    assert found == [asked or 3]


def test_another_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle(tmp_path / "b", "onnxruntime", "text-classification", table(2), ("no", "yes"))
    runtime = replace(bundle.manifest.runtime, backend="another")  # type: ignore[arg-type]
    monkeypatch.setattr(bundle, "manifest", replace(bundle.manifest, runtime=runtime))
    with pytest.raises(UnsupportedError, match="no profiler for another") as caught:
        profiler_of(bundle, 1)
    assert "--profile" in caught.value.hint


def openvino_kinds(folder: Path, options: dict[str, str], *, static: bool) -> dict[str, int]:
    profiler = OpenVinoProfiler(*openvino_product(folder, static=static), 1, options)
    nodes, _ = profiler.nodes(feeds(1, 8), SECONDS)
    return {node.kind: node.macs for node in nodes if node.kind.startswith("FullyConnected")}


def test_openvino_products_by_what_enters_them(tmp_path: Path) -> None:
    macs = 8 * WIDTH_IN * WIDTH_OUT
    group = "DYNAMIC_QUANTIZATION_GROUP_SIZE"
    assert openvino_kinds(tmp_path, {}, static=True) == {"FullyConnected INT8": macs}
    assert openvino_kinds(tmp_path, {group: "0"}, static=False) == {"FullyConnected on INT8 weights": 0}
    wide = str(2 * WIDTH_IN)
    assert openvino_kinds(tmp_path, {group: wide}, static=False) == {"FullyConnected on INT8 weights": 0}
    if VNNI:
        found = openvino_kinds(tmp_path, {group: str(WIDTH_IN)}, static=False)
        assert found == {"FullyConnected INT8 dynamic": macs}


def test_openvino_averages_are_corrected_for_what_is_cut_off() -> None:
    rng = np.random.default_rng(0)
    skipped, runs = 4, 200
    errors = []
    for mean in rng.uniform(2, 60, 300):
        times = rng.normal(mean, 0.1 * mean, skipped + runs)
        times[0] += 5000
        counted = np.floor(times)
        before, after = (int(counted[:n].sum() // n) for n in (skipped, skipped + runs))
        errors.append(1e6 * per_run(before, after, skipped, runs) - times[skipped:].mean())
    assert abs(np.mean(errors)) < 0.1
    assert np.abs(errors).max() < 1.1


def test_the_trace_of_onnxruntime_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    nodes, observed = OnnxRuntimeProfiler(onnx_product(), 1, {}).nodes(feeds(2, 4), SECONDS)
    assert list(tmp_path.iterdir()) == []
    (product,) = (node for node in nodes if node.macs)
    assert product.kind == "MatMulIntegerToFloat INT8"
    assert product.macs == 2 * 4 * WIDTH_IN * WIDTH_OUT
    assert product.widths == (WIDTH_IN, WIDTH_OUT)
    assert sum(node.seconds for node in nodes) < observed


def test_operators_are_averaged_over_the_runs_that_count() -> None:
    def event(index: int, name: str, microseconds: int) -> dict[str, Any]:
        args = {"op_name": name, "node_index": str(index)}
        return {"cat": "Node", "name": f"{name}_kernel_time", "dur": microseconds, "args": args}

    events = [
        event(place, name, 10 * run_ + place)
        for run_ in range(5)
        for place, name in enumerate(("Add", "Mul"))
    ]
    events += [event(2, "Tanh", 50), event(2, "Tanh", 100), {"cat": "Session", "name": "run", "dur": 9}]
    found = {node.kind: 1e6 * node.seconds for node in nodes_of(events, [2, 4], 5)}
    assert found == pytest.approx({"Add": 30, "Mul": 31, "Tanh": 30})


def test_a_typical_run_is_one_of_the_middle() -> None:
    times = [5.0, 1.0, 100.0, 4.0, 6.0, 5.5, 4.5, 0.1]
    assert sorted(middle(times)) == [0, 3, 5, 6]
    assert typical(times) == pytest.approx((5.0 + 4.0 + 5.5 + 4.5) / 4)
    assert typical([3.0]) == 3.0


@pytest.mark.parametrize(
    ("seconds", "iterations", "most", "runs"),
    [(0, None, 50, 5), (60, None, 7, 7), (60, 3, 50, 3), (0, 9, 4, 4)],
)
def test_how_often_a_run_is_repeated(seconds: float, iterations: int | None, most: int, runs: int) -> None:
    calls: list[int] = []
    call: Callable[[], None] = lambda: calls.append(0)  # noqa: E731
    assert len(repeat(call, seconds, iterations, most=most)) == len(calls) == runs


def test_shares_of_nothing() -> None:
    assert ShapeProfile(1, 8, 0.0, 0.0, (), None).to_dict()["outside_share"] == 0
