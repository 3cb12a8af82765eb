from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets.bundle.reader import Bundle
from targets.errors import BertcError, IncompatibleError, IntegrityError, UsageError
from targets.runtime.bench import bench, default_shapes, parse_shape, peak_rss_mb
from targets.runtime.energy.sources import Found
from targets.runtime.selftest import Tolerance, compare, make_selftest, parse_selftest, run_selftest
from tests.support.tiny_runtime import RUNTIMES, session, table, tiny_bundle

TEXTS = ["the film", "", ("who wrote it ?", "anna\twas in 東京 😀"), "good " * 90]
TOLERANCE = Tolerance(1e-3, 1e-4)


def golden(runtime: str, task: str, values: Any) -> bytes:
    with session(runtime, task, values) as opened:
        texts = [item for item in TEXTS if task == "text-classification" or isinstance(item, str)]
        if task == "question-answering":
            texts = [("who wrote it ?", "film " * 90), ("who", "anna")]
        return make_selftest(opened, texts, TOLERANCE)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    "task", ["text-classification", "token-classification", "question-answering", "feature-extraction"]
)
def test_a_bundle_passes_its_own_test(runtime: str, task: str, tmp_path: Path) -> None:
    values = table(2)
    data = golden("onnxruntime", task, values)
    bundle = tiny_bundle(tmp_path / "b", runtime, task, values, selftest=data)
    with bundle.session(threads=1) as opened:
        report = run_selftest(bundle, opened)
    assert report.ok
    assert report.token_ids_equal
    assert report.n == len(json.loads(data)["texts"])
    assert all(value < 1e-4 for value in report.max_abs.values())
    assert set(report.to_dict()) == {"ok", "n", "token_ids_equal", "max_abs", "mean_abs", "tolerance"}
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_model_that_computes_something_else_fails(tmp_path: Path) -> None:
    values = table(2)
    data = golden("onnxruntime", "text-classification", values)
    bundle = tiny_bundle(
        tmp_path / "b", "onnxruntime", "text-classification", values + np.float32(0.01), selftest=data
    )
    with bundle.session() as opened:
        report = run_selftest(bundle, opened)
    assert not report.ok
    assert report.token_ids_equal
    assert report.max_abs["logits"] == pytest.approx(0.01, rel=1e-2)
    assert report.mean_abs["logits"] == pytest.approx(0.01, rel=1e-2)


def test_the_mean_alone_can_fail() -> None:
    with session("onnxruntime", "text-classification", table(2)) as opened:
        parsed = parse_selftest(make_selftest(opened, ["the film"], Tolerance(1.0, 0.0)))
        off = {"logits": tuple(tuple(value + 0.5 for value in row) for row in parsed.outputs["logits"])}
        assert not compare(replace(parsed, outputs=off), opened).ok
        assert compare(replace(parsed, outputs=off, tolerance=Tolerance(1.0, 0.6)), opened).ok


def test_another_tokenizer_or_shape_fails() -> None:
    with session("onnxruntime", "token-classification", table(2)) as opened:
        parsed = parse_selftest(make_selftest(opened, ["the film"], TOLERANCE))
        report = compare(replace(parsed, texts=("the good film",)), opened)
        assert not report.ok
        assert not report.token_ids_equal
        assert report.to_dict()["max_abs"] == {"logits": None}
        report = compare(replace(parsed, outputs={}), opened)
        assert not report.ok
        assert report.token_ids_equal
        nan = {"logits": ((float("nan"),) * 8,)}
        assert compare(replace(parsed, outputs=nan), opened).to_dict()["max_abs"] == {"logits": None}


def test_long_rows_are_sampled() -> None:
    values = table(40)
    with session("onnxruntime", "token-classification", values, type_ids=False) as opened:
        data = make_selftest(opened, ["the " * 30], TOLERANCE)
        (row,) = json.loads(data)["outputs"]["logits"]
        assert len(row) == 256
        (inference,) = opened.infer(["the " * 30])
        flat = inference.windows[0].outputs["logits"].ravel()
        assert row[0] == pytest.approx(float(flat[0]), rel=1e-5)
        assert row[-1] == pytest.approx(float(flat[-1]), rel=1e-5)
        assert compare(parse_selftest(data), opened).ok


def test_the_same_bytes_twice() -> None:
    assert golden("onnxruntime", "text-classification", table(2)) == golden(
        "onnxruntime", "text-classification", table(2)
    )


def test_what_cannot_be_recorded() -> None:
    with session("onnxruntime", "text-classification", table(2)) as opened:
        with pytest.raises(UsageError, match="0 texts"):
            make_selftest(opened, [], TOLERANCE)
        with pytest.raises(UsageError, match="tolerance"):
            make_selftest(opened, ["a"], Tolerance(float("nan"), 0))


def change(**changes: Any) -> bytes:
    document = json.loads(golden("onnxruntime", "text-classification", table(2)))
    return json.dumps({**document, **changes}).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"version": 2}',
        change(texts=[]),
        change(texts=[["a", "b", "c"]]),
        change(texts="abcd"),
        change(ids=[]),
        change(ids=[["x"]] * 4),
        change(outputs={"logits": []}),
        change(outputs=[]),
        change(tolerance={}),
        change(max_values=0),
        b" " * (9 * 1024 * 1024),
    ],
)
def test_a_damaged_selftest(data: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"selftest\.json cannot be used"):
        parse_selftest(data)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_bundle_sessions(runtime: str, tmp_path: Path) -> None:
    tiny_bundle(tmp_path / "b", runtime, "text-classification", table(2), ("no", "yes"))
    with Bundle.open(tmp_path / "b").session(threads=1) as opened:
        assert opened.predict(["the film"])[0].to_dict()["label"] in ("no", "yes")
        timings = opened.timings
    for value in (timings.import_s, timings.verify_s, timings.load_s, timings.first_run_s):
        assert value is not None
        assert value >= 0


def test_a_changed_model_is_not_loaded(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", "onnxruntime", "text-classification", table(2))
    path = tmp_path / "b" / "model" / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(IntegrityError):
        bundle.session()


def test_another_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tiny_bundle(tmp_path / "b", "onnxruntime", "text-classification", table(2))
    target = replace(bundle.manifest.target, cpu_features=(("no_such_feature",),))
    monkeypatch.setattr(bundle, "manifest", replace(bundle.manifest, target=target))
    with pytest.raises(IncompatibleError, match="no_such_feature"):
        bundle.session()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_bench(runtime: str, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", runtime, "text-classification", table(2))
    calls: list[tuple[int, int]] = []
    report = bench(
        bundle,
        [(1, 8), (2, 64)],
        iterations=7,
        threads=1,
        energy=Found(reason="none here"),
        progress=lambda *done: calls.append(done),
    )
    document = json.loads(json.dumps(report.to_dict()))
    assert set(document) == {"shapes", "load_s", "first_run_s", "rss_mb", "energy_j", "energy"}
    assert [set(row) for row in document["shapes"]] == [
        {"batch", "length", "p50_ms", "p95_ms", "p99_ms", "texts_per_s", "energy_j"}
    ] * 2
    for row in document["shapes"]:
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["texts_per_s"] > 0
    assert (document["shapes"][1]["batch"], document["shapes"][1]["length"]) == (2, 64)
    assert document["energy_j"] is None
    assert document["energy"] == {"source": None, "idle_w": None, "reason": "none here"}
    assert document["load_s"] > 0
    assert 1 < document["rss_mb"] <= peak_rss_mb() + 0.1
    assert calls == [(1, 2), (2, 2)]


def test_bench_for_a_time(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", "onnxruntime", "text-classification", table(2))
    report = bench(bundle, seconds=0.01, threads=1, energy=Found(reason="none here"))
    assert [(row.batch, row.length) for row in report.shapes] == [(1, 32), (1, 64), (8, 64)]


@pytest.mark.parametrize(
    "options",
    [
        {"shapes": []},
        {"shapes": [(0, 8)]},
        {"shapes": [(1, 65)]},
        {"shapes": [(2000, 1)]},
        {"seconds": 0},
        {"iterations": 0},
    ],
)
def test_bench_that_cannot_be(options: dict[str, Any], tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "b", "onnxruntime", "text-classification", table(2))
    with pytest.raises(UsageError) as caught:
        bench(bundle, **options)
    assert caught.value.hint


def test_shapes() -> None:
    assert parse_shape(" 8X128") == (8, 128)
    assert default_shapes(512) == [(1, 32), (1, 128), (8, 128)]
    assert default_shapes(16) == [(1, 16), (8, 16)]
    for text in ("8", "8x", "ax1", "1x1x1", "-1x8", "٣x8"):
        with pytest.raises(BertcError, match="not a shape"):
            parse_shape(text)
