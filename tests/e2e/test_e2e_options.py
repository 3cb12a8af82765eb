"""What a user can ask of a compile, each option seen in the bundle that comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets import Bundle
from targets.bundle.schema import TaskConfig
from targets.runtime.tasks import Classification, MultiLabel, Regression
from tests.support.compiling import (
    RUNTIMES,
    TARGET,
    Bundles,
    Checkpoints,
    Data,
    bertc,
    build,
    everything,
)
from tests.support.data import (
    classification_rows,
    multi_label_rows,
    pair_rows,
    regression_rows,
    squad_rows,
    write_rows,
)
from tests.support.models import TOPIC_LABELS

ROOT = Path(__file__).resolve().parents[2]
UNCALIBRATED = [
    (precision, runtime)
    for precision in ("int8-dynamic", "fp16", "bf16", "fp32")
    for runtime in RUNTIMES
    if (precision, runtime) != ("bf16", "onnxruntime")
]
BUNDLE_KEYS = {
    *("path", "target", "runtime", "precision", "content_digest", "model_bytes", "source_bytes"),
    *("validation", "candidates", "seconds"),
}
VALIDATION_KEYS = {
    *("metric", "baseline", "compiled", "delta", "ci95", "agreement", "n", "evidence", "status"),
    *("gate", "labelled", "metrics"),
}


@pytest.mark.parametrize(("precision", "runtime"), UNCALIBRATED)
def test_precisions_that_need_no_data(
    onnx_model: Path, data: Path, out: Path, precision: Any, runtime: Any
) -> None:
    built = build(onnx_model, out, precision=precision, runtime=runtime, eval_data=data)
    agreement = built.result.validation.agreement
    assert agreement is not None
    assert agreement >= (0.8 if precision in ("int8-dynamic", "bf16") else 1.0)
    bundle = Bundle.open(built.path)
    assert bundle.manifest.runtime.precision == precision
    assert "calibrating" not in built.progress.started
    assert "calibration" not in bundle.manifest.provenance["data"]  # type: ignore[operator]
    with bundle.session(threads=1) as session:
        (found,) = session.predict(["a gripping film"])
    assert isinstance(found, Classification)
    assert bertc("selftest", built.path).code == 0


def test_auto_leaves_out_the_runtime_without_the_precision(onnx_model: Path, data: Path, out: Path) -> None:
    built = build(onnx_model, out, precision="bf16", eval_data=data)
    assert built.result.runtime == "openvino"
    (warning,) = built.progress.warnings
    assert "onnxruntime has no bf16" in warning


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_checkpoints(checkpoint: Checkpoints, data: Path, out: Path, dtype: str) -> None:
    model = checkpoint("bert", "text-classification", dtype=dtype, layers=1)
    built = build(model, out, runtime="onnxruntime", calibration_data=data, eval_data=data)
    recorded = Bundle.open(built.path).manifest.provenance["weights_dtype"]
    assert recorded == [{"float16": "F16", "bfloat16": "BF16"}[dtype]]
    agreement = built.result.validation.agreement
    assert agreement is not None
    assert agreement > 0.7


def test_an_onnx_file_gives_what_its_checkpoint_gives(
    onnx_model: Path, checkpoint: Checkpoints, data: Path, out: Path
) -> None:
    options: dict[str, Any] = {"runtime": "onnxruntime", "calibration_data": data, "eval_data": data}
    exported = build(onnx_model, out, **options)
    traced = build(checkpoint(layers=1), out, name="traced", **options)
    assert exported.path.name == f"tiny-{TARGET}.bundle"
    found = []
    for built in (exported, traced):
        with Bundle.open(built.path).session(threads=1) as session:
            found.append([each.to_dict()["scores"] for each in session.predict(["a gripping film", "no"])])
    for one, other in zip(*found, strict=True):
        assert one == pytest.approx(other, abs=0.05)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "parquet"])
def test_data_formats(onnx_model: Path, task_data: Data, tmp_path: Path, suffix: str) -> None:
    file = task_data(suffix=suffix)
    options: dict[str, Any] = {"runtime": "onnxruntime", "calibration_data": file, "eval_data": file}
    built = build(onnx_model, tmp_path / "out", **options)
    validation = built.result.validation
    assert validation.n == 24
    assert validation.labelled == (suffix != "txt")
    assert validation.metric == ("agreement" if suffix == "txt" else "accuracy")
    same = build(onnx_model, tmp_path / "same", **{**options, "calibration_data": task_data()})
    assert same.result.content_digest == built.result.content_digest


def test_columns_by_name(onnx_model: Path, tmp_path: Path, out: Path) -> None:
    rows = [{"said": row["text"], "mood": row["label"]} for row in classification_rows(24, names=True)]
    file = write_rows(tmp_path / "odd.csv", rows)
    ran = bertc(
        *("compile", onnx_model, "-o", out, "--runtime", "onnxruntime", "--ranges", "minmax", "--json"),
        *("--calibration-data", file, "--eval-data", file, "--max-drop", 1),
        *("--text-column", "said", "--label-column", "mood"),
    )
    assert ran.code == 0, ran.err
    (bundle,) = json.loads(ran.out)["bundles"]
    assert bundle["validation"]["labelled"] is True


def test_pairs(checkpoint: Checkpoints, tmp_path: Path, out: Path) -> None:
    file = write_rows(tmp_path / "pairs.jsonl", pair_rows(24))
    model = checkpoint(layers=1, labels=("different", "same"), seed=3)
    built = build(model, out, runtime="openvino", calibration_data=file, eval_data=file)
    with Bundle.open(built.path).session(threads=1) as session:
        pair, single = session.predict([("a film", "a movie"), "a film a movie"])
    assert isinstance(pair, Classification)
    assert isinstance(single, Classification)
    assert pair.scores != single.scores


def test_regression(checkpoint: Checkpoints, tmp_path: Path, out: Path) -> None:
    file = write_rows(tmp_path / "scores.tsv", regression_rows(24))
    model = checkpoint(layers=1, problem_type="regression")
    built = build(model, out, runtime="onnxruntime", calibration_data=file, eval_data=file)
    assert built.result.validation.metric == "pearson"
    with Bundle.open(built.path).session(threads=1) as session:
        (found,) = session.predict(["a gripping film"])
    assert isinstance(found, Regression)
    assert np.isfinite(found.score)


def test_several_labels(checkpoint: Checkpoints, tmp_path: Path, out: Path) -> None:
    file = write_rows(tmp_path / "topics.jsonl", multi_label_rows(24))
    model = checkpoint(layers=1, problem_type="multi_label_classification")
    built = build(model, out, runtime="openvino", calibration_data=file, eval_data=file)
    assert built.result.validation.metric == "f1_micro"
    bundle = Bundle.open(built.path)
    assert bundle.manifest.task_config == TaskConfig("multi_label_classification", TOPIC_LABELS)
    with bundle.session(threads=1) as session:
        (found,) = session.predict(["a gripping film"], threshold=0.3)
    assert isinstance(found, MultiLabel)
    assert found.labels == tuple(
        sorted((name for name, score in found.scores.items() if score >= 0.3), key=lambda n: -found.scores[n])
    )


def test_without_evaluation_data_it_says_so(onnx_model: Path, data: Path, out: Path) -> None:
    ran = bertc(
        *("compile", onnx_model, "-o", out, "--calibration-data", data, "--runtime", "onnxruntime"),
        *("--ranges", "minmax"),
    )
    assert ran.code == 0
    assert "warning: no --eval-data was given: the accuracy of this bundle is not known" in ran.err
    assert "not measured" in ran.out
    validation = Bundle.open(out / f"tiny-{TARGET}.bundle").manifest.validation
    assert validation is not None
    assert validation["status"] == "not-measured"


def test_longer_texts_are_cut_counted_and_said(onnx_model: Path, tmp_path: Path, out: Path) -> None:
    rows = [{"text": "a film " * (100 if i < 3 else 1), "label": i % 2} for i in range(16)]
    file = write_rows(tmp_path / "long.jsonl", rows)
    built = build(onnx_model, out, runtime="onnxruntime", calibration_data=file, eval_data=file)
    assert built.progress.warnings == [
        f"3 of 16 {what} texts are longer than 128 tokens and were cut"
        for what in ("calibration", "evaluation")
    ]
    again = bertc("validate", built.path, "--eval-data", file)
    assert again.code == 0
    assert "warning: 3 of 16 evaluation texts are longer than 128 tokens and were cut" in again.err
    ran = bertc("run", built.path, "--text", "a film " * 100)
    assert ran.code == 0
    assert "warning: 1 text is longer than the 128 tokens" in ran.err


def test_max_length(onnx_model: Path, data: Path, out: Path) -> None:
    built = build(onnx_model, out, max_length=16, calibration_data=data, eval_data=data)
    bundle = Bundle.open(built.path)
    assert bundle.manifest.tokenizer.max_length == 16
    assert any("longer than 16 tokens" in each for each in built.progress.warnings)
    assert set(built.result.candidates[0]["p50_ms"]) == {"1x16", "8x16"}
    with bundle.session(threads=1) as session:
        session.predict(["a film " * 100])
        assert session.truncated == 1


def test_short_position_tables_are_timed_within_them(checkpoint: Checkpoints, data: Path, out: Path) -> None:
    model = checkpoint(layers=1, max_length=32)
    built = build(model, out, calibration_data=data, eval_data=data)
    assert set(built.result.candidates[0]["p50_ms"]) == {"1x32", "8x32"}


def test_long_contexts_get_windows(bundles: Bundles) -> None:
    row = squad_rows(1, seed=5, distractors=40)[0]
    with Bundle.open(bundles("bert", "question-answering", "onnxruntime").path).session(threads=1) as session:
        (inference,) = session.infer([(row["question"], row["context"])])
        assert len(inference.windows) > 1
        (found,) = session.predict([(row["question"], row["context"])])
    assert found.to_dict()["answer"] in row["context"]


def test_dump_ir_debug_and_name(onnx_model: Path, data: Path, out: Path, tmp_path: Path) -> None:
    dump = tmp_path / "ir"
    built = build(
        onnx_model,
        out,
        runtime="onnxruntime",
        name="other",
        dump_ir=dump,
        keep_debug=True,
        calibration_data=data,
        eval_data=data,
    )
    assert sorted(path.name for path in out.iterdir()) == [f"other-{TARGET}.bundle", f"other-{TARGET}.debug"]
    assert Bundle.open(built.path).manifest.name == "other"
    record = json.loads((out / f"other-{TARGET}.debug" / "quantization.json").read_bytes())
    assert {"linears", "attentions", "smoothing", "placements"} <= set(record)
    assert {each["compute"] for each in record["linears"].values()} == {"int8"}
    dumped = sorted(path.name for path in dump.iterdir())
    assert len(dumped) > 5
    assert all((dump / name).stat().st_size > 0 for name in dumped)


def test_debug_follows_force(onnx_model: Path, data: Path, out: Path) -> None:
    options: dict[str, Any] = {"runtime": "onnxruntime", "calibration_data": data, "keep_debug": True}
    build(onnx_model, out, **options)
    before = everything(out)
    build(onnx_model, out, force=True, **options)
    assert everything(out) == before


def test_seed_changes_the_sample_alone(onnx_model: Path, task_data: Data, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "runtime": "onnxruntime",
        "calibration_data": task_data(count=200),
        "calibration_samples": 8,
        "ranges": "minmax",
    }
    digests = [
        build(onnx_model, tmp_path / str(index), seed=seed, **options).result.content_digest
        for index, seed in enumerate((0, 0, 7))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_two_targets(onnx_model: Path, data: Path, out: Path, tmp_path: Path) -> None:
    text = (ROOT / "targets" / "profiles" / f"{TARGET}.toml").read_text(encoding="utf-8")
    profile = tmp_path / "shop.toml"
    profile.write_text(text.replace(f'id = "{TARGET}"', 'id = "shop-terminal"'), encoding="utf-8")
    ran = bertc(
        *("compile", onnx_model, "-o", out, "--calibration-data", data, "--eval-data", data, "--json"),
        *("--target", "native", "--target", profile, "--runtime", "onnxruntime", "--max-drop", 1),
    )
    assert ran.code == 0, ran.err
    first, second = json.loads(ran.out)["bundles"]
    assert (first["target"], second["target"]) == (TARGET, "shop-terminal")
    assert first["content_digest"] == second["content_digest"]
    for each in (first, second):
        assert bertc("verify", each["path"]).code == 0


def test_json_is_the_interface(onnx_model: Path, data: Path, out: Path) -> None:
    ran = bertc(
        *("compile", onnx_model, "-o", out, "--calibration-data", data, "--eval-data", data, "--json"),
        *("--max-drop", 1, "--ranges", "minmax"),
    )
    assert (ran.code, ran.err) == (0, "")
    document = json.loads(ran.out)
    assert set(document) == {"bundles"}
    (bundle,) = document["bundles"]
    assert set(bundle) == BUNDLE_KEYS
    assert set(bundle["validation"]) == VALIDATION_KEYS
    assert len(bundle["validation"]["ci95"]) == 2
    assert all(isinstance(spent, float) for spent in bundle["seconds"].values())
    again = bertc("validate", bundle["path"], "--eval-data", data, "--json")
    assert (again.code, again.err) == (0, "")
    assert set(json.loads(again.out)) == VALIDATION_KEYS
    timed = bertc("bench", bundle["path"], "--json", "--iterations", 3)
    assert (timed.code, timed.err) == (0, "")
    report = json.loads(timed.out)
    assert set(report) == {"shapes", "load_s", "first_run_s", "rss_mb", "energy_j", "energy"}
    shape = {"batch", "length", "p50_ms", "p95_ms", "p99_ms", "texts_per_s", "energy_j"}
    assert set(report["shapes"][0]) == shape


def test_validate_on_other_data(
    onnx_model: Path, data: Path, task_data: Data, out: Path, tmp_path: Path
) -> None:
    built = build(onnx_model, out, runtime="onnxruntime", calibration_data=data, eval_data=data)
    other = task_data(seed=9)
    alone = bertc("validate", built.path, "--eval-data", other)
    assert alone.code == 0
    assert "warning: the bundle keeps FP32's answers to other texts" in alone.err
    assert alone.out.startswith("accuracy")
    compared = bertc("validate", built.path, "--eval-data", other, "--model", onnx_model, "--json")
    assert (compared.code, compared.err) == (0, "")
    assert json.loads(compared.out)["baseline"] is not None
    plain = write_rows(tmp_path / "plain.txt", [{"text": f"film {i}"} for i in range(3)])
    unlabelled = bertc("validate", built.path, "--eval-data", plain)
    assert unlabelled.code == 0
    assert "not measured: there are no FP32 predictions of this data" in unlabelled.out


def test_a_tiny_sample_of_evaluation_data(onnx_model: Path, data: Path, out: Path) -> None:
    built = build(
        onnx_model, out, runtime="onnxruntime", calibration_data=data, eval_data=data, eval_samples=10
    )
    assert built.result.validation.n == 10
    again = bertc("validate", built.path, "--eval-data", data, "--json")
    assert json.loads(again.out)["n"] == 10
    assert json.loads(again.out)["status"] == "passed"
