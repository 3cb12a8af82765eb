"""`--precision auto` on a model of which one product cannot be INT8, and on one where all of them can."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compiler.replay.compile import compile_from_manifest
from targets import Bundle
from targets.errors import AccuracyGateError, UsageError
from tests.support.compiling import (
    RUNTIMES,
    TARGET,
    Built,
    Checkpoints,
    Recorder,
    bertc,
    build,
    everything,
    own_caches,
    require_target,
    traced_once,
)
from tests.support.data import classification_rows, text_rows, write_rows

GUILTY = "layer0.ffn_down"
LEAST = 0.995
AUTO: dict[str, Any] = {
    "precision": "auto",
    "min_agreement": LEAST,
    "calibration_samples": 16,
    "smooth": False,
    "threads": 1,
}


def break_ffn_down(folder: Path) -> None:
    """One neuron of layer 0 says 3000 to every text and nobody listens: its INT8 neighbours all become 0."""
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = load_file(path)
    stem = "encoder.layer.0"
    weights[f"{stem}.intermediate.dense.weight"][3, :] = 0.0
    weights[f"{stem}.intermediate.dense.bias"][3] = 3000.0
    weights[f"{stem}.output.dense.weight"][:, 3] = 0.0
    save_file(weights, path, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("texts") / "texts.jsonl", text_rows(240))


@pytest.fixture(scope="module")
def sound(checkpoint: Checkpoints) -> Path:
    return checkpoint("bert", "feature-extraction", pooling="mean", normalize=True)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, sound: Path) -> Path:
    folder = tmp_path_factory.mktemp("broken") / "broken"
    shutil.copytree(sound, folder)
    break_ffn_down(folder)
    return folder


@pytest.fixture(autouse=True, scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache that the module's bundles were made with: it holds their latency tables."""
    require_target()
    folder = tmp_path_factory.mktemp("cache")
    with traced_once(), own_caches(folder):
        yield folder


@pytest.fixture(scope="module", params=RUNTIMES)
def mended(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, broken: Path, texts: Path
) -> Built:
    out = tmp_path_factory.mktemp(request.param)
    return build(
        broken,
        out,
        runtime=request.param,
        calibration_data=texts,
        eval_data=texts,
        eval_samples=32,
        keep_debug=True,
        **AUTO,
    )


def search_of(bundle: Path) -> Any:
    manifest: Any = Bundle.open(bundle).manifest
    return manifest.compression["quantization"]["scheme"]["search"]


def test_the_guilty_product_alone_is_float(mended: Built) -> None:
    manifest: Any = Bundle.open(mended.path).manifest
    quantization = manifest.compression["quantization"]
    floats = [each for each in quantization["float"] if not each["role"].endswith(".attention")]
    assert [each["role"] for each in floats] == [GUILTY]
    assert "squared error of sentence_embedding" in floats[0]["reason"]
    assert "1x128" in floats[0]["reason"]
    found = search_of(mended.path)
    assert found["float"] == [GUILTY]
    assert found["agreement"] >= LEAST
    assert found["texts"] >= 64
    assert not found["labelled"]
    assert found["uncertainty"] > 0
    placement = manifest.compression["placement"]
    assert placement["int8_products"] == placement["planned_int8_products"] > 6


def test_it_is_an_int8_bundle_that_holds_the_gate_and_runs(mended: Built) -> None:
    assert mended.result.precision == "int8"
    assert mended.result.validation.status == "passed"
    assert (mended.result.validation.agreement or 0.0) >= LEAST
    bundle = Bundle.open(mended.path)
    assert bundle.manifest.runtime.precision == "int8"
    assert bertc("selftest", mended.path).code == 0


def test_the_debug_record_has_the_ranking(mended: Built) -> None:
    record = json.loads((mended.path.with_suffix(".debug") / "quantization.json").read_text())
    first, *rest = record["ranking"]
    assert first["role"] == GUILTY
    assert first["kept_in"] == "float"
    assert {each["kept_in"] for each in rest} == {"int8"}
    assert first["error_alone"] > 10 * max(each["error_alone"] for each in rest)
    assert all(each["saved_ms"] > 0 for each in record["ranking"])
    assert record["search"]["float"] == [GUILTY]


def test_every_long_stage_is_shown(mended: Built) -> None:
    progress = mended.progress
    assert {"held-out texts in FP32", "measuring sensitivities"} <= set(progress.finished)
    stage = f"timing INT8 on {mended.result.runtime}"
    for each in ("measuring sensitivities", stage):
        assert progress.steps[each] == progress.totals[each]


def test_the_same_table_gives_the_same_bundle(
    mended: Built, tables: Path, out: Path, broken: Path, texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BERTC_CACHE_DIR", str(tables))
    again = build(
        broken,
        out,
        runtime=mended.result.runtime,
        calibration_data=texts,
        eval_data=texts,
        eval_samples=32,
        **AUTO,
    )
    assert again.result.content_digest == mended.result.content_digest
    assert search_of(again.path) == search_of(mended.path)
    reasons: Any = [Bundle.open(each.path).manifest.compression["quantization"] for each in (again, mended)]
    assert reasons[0]["float"] == reasons[1]["float"]


def test_its_manifest_gives_the_same_bundle_without_a_search(
    mended: Built, out: Path, broken: Path, texts: Path
) -> None:
    progress = Recorder()
    data = {"calibration_data": texts, "eval_data": texts}
    done = compile_from_manifest(
        mended.path, out, model=broken, progress=progress, threads=2, report=False, **data
    )
    (again,) = done.bundles
    assert again.reproduces is True
    assert not {"measuring sensitivities", "held-out texts in FP32"} & set(progress.started)
    assert not [stage for stage in progress.started if stage.startswith("timing")]
    first, second = (Bundle.open(each).manifest for each in (mended.path, again.path))
    assert first.provenance == second.provenance
    assert first.compression == second.compression
    assert first.placement == second.placement


def test_without_auto_the_gate_refuses_the_model(broken: Path, texts: Path, out: Path) -> None:
    options = {**AUTO, "precision": "int8", "runtime": "onnxruntime"}
    with pytest.raises(AccuracyGateError, match="below --min-agreement"):
        build(broken, out, calibration_data=texts, eval_data=texts, eval_samples=32, **options)
    assert everything(out) == []


def test_a_model_that_int8_does_not_hurt_stays_int8(sound: Path, texts: Path, tmp_path: Path) -> None:
    built = build(sound, tmp_path, calibration_data=texts, runtime="onnxruntime", keep_debug=True, **AUTO)
    found = search_of(built.path)
    assert found["float"] == []
    assert found["trials"] == 1
    assert "measuring sensitivities" not in built.progress.started
    record = json.loads((built.path.with_suffix(".debug") / "quantization.json").read_text())
    assert record["ranking"] == []
    progress = Recorder()
    done = compile_from_manifest(
        built.path, tmp_path / "again", model=sound, progress=progress, calibration_data=texts
    )
    assert done.bundles[0].reproduces is True
    assert search_of(done.bundles[0].path) == found


def test_labels_decide_where_there_are_some(checkpoint: Checkpoints, tmp_path: Path) -> None:
    rows = classification_rows(240)
    known = write_rows(tmp_path / "known.jsonl", rows)
    foreign = write_rows(tmp_path / "foreign.jsonl", [{**row, "label": "sunny"} for row in rows])
    options = {**AUTO, "min_agreement": None, "runtime": "onnxruntime", "max_drop": 0.2}
    built = build(checkpoint(), tmp_path / "known", calibration_data=known, **options)
    assert search_of(built.path)["metric"] == "accuracy"
    assert search_of(built.path)["labelled"]
    built = build(checkpoint(), tmp_path / "foreign", calibration_data=foreign, **options)
    assert search_of(built.path)["metric"] == "agreement"
    assert any("cannot be used" in each and "by agreement" in each for each in built.progress.warnings)


def test_too_few_texts_to_hold_some_out(sound: Path, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "few.jsonl", [{"text": f"text number {n}"} for n in range(70)])
    with pytest.raises(UsageError, match="beside 16 for calibration") as caught:
        build(sound, tmp_path / "out", calibration_data=data, **AUTO)
    assert "at least 80 different texts" in caught.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (("--precision", "auto"), ("--calibration-data",)),
        (("--precision", "fp32", "--min-agreement", "0.9"), ("--min-agreement", "FP32")),
        (("--precision", "auto", "--calibration-data", "x", "--min-agreement", "0"), ("not an agreement",)),
        (("--precision", "auto", "--calibration-data", "x", "--min-agreement", "1.1"), ("not an agreement",)),
        (("--precision", "int8-dynamic", "--min-agreement", "0.9"), ("--eval-data",)),
    ],
)
def test_options_that_cannot_be_meant(sound: Path, argv: tuple[str, ...], parts: tuple[str, ...]) -> None:
    bertc("compile", sound, "--target", TARGET, *argv).fails(2, *parts)
