"""Bundles that are compiled again from their own manifests."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

import compiler.build as building
import compiler.preparation as preparation
from calibration.examples import DataOptions
from compiler.replay import compile as replay
from compiler.replay.compile import compile_from_manifest
from compiler.result import BundleResult
from targets import Bundle
from targets.bundle.digest import content_digest
from targets.bundle.schema import FileEntry
from targets.errors import UsageError
from tests.support.compiling import TARGET, Built, Data, Recorder, bertc, build, everything
from tests.support.data import classification_rows, write_rows

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "docs" / "schemas" / "compile.schema.json"
TIMED = {"report/metrics.json", "report/report.html"}
SEARCH: dict[str, Any] = {
    **dict.fromkeys(("delta", "ci95", "uncertainty", "agreement")),
    "float": ["layer0.ffn_up"],
    "trials": 1,
    "texts": 1,
    "metric": "accuracy",
    "labelled": True,
    "gate": {"max_drop": 1, "min_agreement": None},
}
CUT: dict[str, Any] = {
    "modules": [{"name": "layer7.heads", "groups": 4, "kept": 3}],
    "latency": {
        "source": "measured",
        "runtime": "onnxruntime",
        "precision": "int8",
        "shape": [1, 128],
        "fixed_ms": 0.5,
        "modules": {},
        "expected_speedup": 1.5,
    },
}


def again(bundle: Path, out: Path, model: Path, data: Path | None, **options: Any) -> BundleResult:
    """Compiled from its manifest, silently."""
    given = {} if data is None else {"calibration_data": data, "eval_data": data}
    progress = Recorder()
    done = compile_from_manifest(bundle, out, model=model, progress=progress, **{**given, **options})
    assert progress.warnings == []
    (result,) = done.bundles
    return result


def manifest_of(bundle: Path) -> Any:
    """The manifest without the entry of the file that holds times."""
    document = json.loads((bundle / "bundle.json").read_bytes())
    document["files"] = [each for each in document["files"] if each["path"] not in TIMED]
    return document


@pytest.fixture(scope="module")
def plain(onnx_model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A bundle with options of which none is the default."""
    options: dict[str, Any] = {
        "calibration_samples": 16,
        "eval_samples": 12,
        "max_length": 48,
        "smooth": False,
    }
    options |= {"seed": 3, "name": "own", "ranges": "percentile-99.9", "max_drop": 1.0, "text_column": "text"}
    out = tmp_path_factory.mktemp("plain")
    return build(onnx_model, out, runtime="onnxruntime", calibration_data=data, eval_data=data, **options)


def test_a_bundle_comes_out_again(plain: Built, onnx_model: Path, data: Path, out: Path) -> None:
    result = again(plain.path / "bundle.json", out, onnx_model, data, threads=2)
    assert result.reproduces is True
    assert result.content_digest == plain.result.content_digest
    assert result.path.name == plain.path.name
    assert manifest_of(result.path) == manifest_of(plain.path)


def test_the_runtime_is_the_one_that_was_faster(
    onnx_model: Path, data: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is cut out of the other's quantization at first, and quantized by itself when compiled again."""

    def prefer(timed: list[building.Candidate]) -> list[building.Candidate]:
        return sorted(timed, key=lambda each: each.artifact.runtime != "onnxruntime")

    monkeypatch.setattr(building, "_fastest_first", prefer)
    monkeypatch.setattr(building, "_TURNS", 1)
    built = build(onnx_model, out, calibration_data=data, eval_data=data)
    assert built.result.runtime == "onnxruntime"
    assert len(built.result.candidates) == 2
    result = again(built.path, out / "again", onnx_model, data)
    assert (result.runtime, result.reproduces) == ("onnxruntime", True)
    assert [each["p50_ms"] for each in result.candidates] == [{}]
    assert manifest_of(result.path) == manifest_of(built.path)


def test_without_data(onnx_model: Path, out: Path) -> None:
    built = build(onnx_model, out, precision="fp16", runtime="openvino")
    assert manifest_of(built.path)["provenance"]["data"] == {}
    progress = Recorder()
    done = compile_from_manifest(built.path, out / "again", model=onnx_model, progress=progress)
    assert done.bundles[0].reproduces is True
    (warning,) = progress.warnings
    assert "no --eval-data was given" in warning


def test_a_profile_of_ones_own(onnx_model: Path, out: Path, tmp_path: Path) -> None:
    text = (ROOT / "targets" / "profiles" / f"{TARGET}.toml").read_text(encoding="utf-8")
    profile = tmp_path / "shop.toml"
    profile.write_text(text.replace(f'id = "{TARGET}"', 'id = "shop-terminal"'), encoding="utf-8")
    built = build(onnx_model, out, target=str(profile), runtime="onnxruntime", precision="fp32")
    argv = ("compile", onnx_model, "-o", out / "again", "--from-manifest", built.path)
    bertc(*argv).fails(2, "the record's target shop-terminal is none of bertc's own", "--target FILE.toml")
    bertc(*argv, "--target", TARGET).fails(2, f"--target {TARGET} contradicts the record", "shop-terminal")
    bertc(*argv, "-t", profile, "-t", profile).fails(2, "of one target")
    ran = bertc(*argv, "--target", profile, "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["bundles"][0]["reproduces"] is True


def test_the_summary_says_that_it_reproduces(plain: Built, onnx_model: Path, data: Path, out: Path) -> None:
    argv = ("--calibration-data", data, "--eval-data", data, "--threads", 1, "--name", "other")
    ran = bertc("compile", onnx_model, "-o", out, "--from-manifest", plain.path, *argv)
    assert (ran.code, "warning" in ran.err) == (0, False), ran.err
    assert "reproduces │ yes, the same content digest" in ran.out.replace("  ", " ").replace("  ", " ")
    assert everything(out)[0] == f"other-{TARGET}.bundle"


def test_a_difference_is_written_and_said(
    plain: Built, onnx_model: Path, data: Path, out: Path, tmp_path: Path
) -> None:
    def changed(document: dict[str, Any]) -> None:
        selftest = next(each for each in document["files"] if each["path"] == "selftest.json")
        selftest["sha256"] = "0" * 64
        document["provenance"]["tools"]["onnxruntime"] = "1.0"
        document["provenance"]["cpu"]["features"].append("amx_fp16")
        document["provenance"]["profile"] = "1" * 64

    record = edited(plain.path, tmp_path, changed)
    argv = ("--calibration-data", data, "--eval-data", data)
    ran = bertc("compile", onnx_model, "-o", out, "--from-manifest", record, *argv)
    assert ran.code == 0, ran.err
    said = "selftest.json; onnxruntime 1.0 then, "
    assert f"warning: the content digest is not the record's: {said}" in ran.err
    assert "a CPU with amx_fp16 then, without now, the profile of x86-64-vnni says something else" in ran.err
    assert f"no: {said}" in " ".join(ran.out.split())
    Bundle.open(out / f"own-{TARGET}.bundle").verify()
    ran = bertc("compile", onnx_model, "-o", out, "--from-manifest", record, *argv, "--json", "--force")
    document = json.loads(ran.out)
    assert document["bundles"][0]["reproduces"] is False
    jsonschema.validate(document, json.loads(SCHEMA.read_bytes()))


def edited(bundle: Path, folder: Path, edit: Any) -> Path:
    """A bundle.json alone, changed, its digest made good."""
    document = json.loads((bundle / "bundle.json").read_bytes())
    edit(document)
    document["content_digest"] = content_digest(FileEntry(**each) for each in document["files"])
    path = folder / "bundle.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (("--precision", "fp16"), ("--precision contradicts the record, which has int8",)),
        (("--runtime", "openvino"), ("--runtime contradicts the record, which has onnxruntime",)),
        (("--smooth",), ("--smooth contradicts the record, which has none",)),
        (("--max-length", 64), ("--max-length contradicts the record, which has 48",)),
        (("--prune-flops", 0.5), ("--prune-flops contradicts the record, which has none",)),
        (("--prune-targets", "ffn"), ("--prune-targets contradicts the record, which has heads,ffn",)),
        (("--revision", "main"), ("--revision contradicts the record, which has none",)),
        (("--threads", "-1"), ("--threads -1 cannot be",)),
        (("--name", "a/b"), ("--name 'a/b' cannot be a bundle's name",)),
    ],
)
def test_what_contradicts_the_record(
    plain: Built, onnx_model: Path, data: Path, out: Path, argv: tuple[Any, ...], parts: tuple[str, ...]
) -> None:
    own = ("--from-manifest", plain.path, "--calibration-data", data, "--eval-data", data)
    bertc("compile", onnx_model, "-o", out, *own, *argv).fails(2, *parts)
    assert not out.exists()


def test_what_agrees_with_the_record_may_be_said(
    plain: Built, onnx_model: Path, data: Path, out: Path
) -> None:
    same = {"seed": 3, "max_length": 48, "smooth": False, "runtime": "onnxruntime"}
    assert again(plain.path, out, onnx_model, data, **same).reproduces is True


def test_the_data_must_be_the_records(
    plain: Built, onnx_model: Path, data: Path, task_data: Data, out: Path
) -> None:
    argv = ("compile", onnx_model, "-o", out, "--from-manifest", plain.path)
    ran = bertc(*argv, "--eval-data", data)
    ran.fails(2, f"compiled with {data.name} as --calibration-data, and it must be given again", "SHA-256 is")
    other = task_data(seed=9)
    ran = bertc(*argv, "--calibration-data", data, "--eval-data", other)
    ran.fails(2, f"{other} is not the {data.name} that the bundle was compiled with", "with --eval-data")
    assert not out.exists()


def test_data_that_the_record_does_not_have(onnx_model: Path, data: Path, out: Path) -> None:
    built = build(onnx_model, out, precision="fp32", runtime="onnxruntime")
    argv = ("compile", onnx_model, "-o", out / "again", "--from-manifest", built.path, "--eval-data", data)
    bertc(*argv).fails(2, "--eval-data contradicts the record, which has no such data")


def test_the_checkpoint_must_be_the_records(
    plain: Built, onnx_model: Path, data: Path, out: Path, tmp_path: Path
) -> None:
    own = ("--from-manifest", plain.path, "--calibration-data", data, "--eval-data", data)
    bertc("compile", "-o", out, *own).fails(
        2, "compiled from model.onnx, which is not of the hub", "pass the path"
    )
    copied = tmp_path / "copy"
    shutil.copytree(onnx_model.parent, copied)
    model = copied / "model.onnx"
    config = json.loads((copied / "config.json").read_bytes())
    (copied / "config.json").write_text(json.dumps({**config, "own": 1}))
    ran = bertc("compile", model, "-o", out, *own)
    ran.fails(2, "config.json is not what the bundle was compiled from", "the record has")
    shutil.copy(onnx_model.parent / "config.json", copied)
    (copied / "special_tokens_map.json").unlink()
    ran = bertc("compile", model, "-o", out, *own)
    ran.fails(2, "has no special_tokens_map.json, from which the bundle was compiled")
    assert not out.exists()


def test_what_is_of_the_hub_need_not_be_given(
    plain: Built, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    asked: list[tuple[Any, ...]] = []

    def of_the_hub(document: dict[str, Any]) -> None:
        document["provenance"] |= {"source": "hub", "model": "owner/tiny", "commit": commit}
        for kind, each in document["provenance"]["data"].items():
            each["name"] = f"owner/set:{kind}"

    def open_dataset(source: str, task: str, options: DataOptions) -> SimpleNamespace:
        asked.append((source, task, options.text_column))
        known = manifest_of(plain.path)["provenance"]["data"][source.partition(":")[2]]
        return SimpleNamespace(digest=known["sha256"])

    def load_checkpoint(model: str, *, revision: str | None, **_: Any) -> None:
        asked.append((model, revision))
        raise UsageError("the hub cannot be reached", "connect")

    monkeypatch.setattr(replay, "open_dataset", open_dataset)
    monkeypatch.setattr(preparation, "load_checkpoint", load_checkpoint)
    record = edited(plain.path, tmp_path, of_the_hub)
    bertc("compile", "-o", out, "--from-manifest", record).fails(2, "the hub cannot be reached")
    task = "text-classification"
    assert asked == [
        ("owner/set:calibration", task, "text"),
        ("owner/set:evaluation", task, "text"),
        ("owner/tiny", commit),
    ]


def test_a_damaged_record(plain: Built, onnx_model: Path, out: Path, tmp_path: Path) -> None:
    record = edited(plain.path, tmp_path, lambda document: document["provenance"]["config"].update(seed="3"))
    ran = bertc("compile", onnx_model, "-o", out, "--from-manifest", record)
    ran.fails(5, "bundle.json: provenance.config.seed must be an integer, not a string")
    record = edited(plain.path, tmp_path, lambda document: document["provenance"].update(data={}))
    ran = bertc("compile", onnx_model, "-o", out, "--from-manifest", record)
    ran.fails(5, "bundle.json: provenance.config: static INT8 needs text to calibrate on")
    record.write_text("{}")
    bertc("compile", onnx_model, "-o", out, "--from-manifest", tmp_path).fails(
        5, "bundle.json: format is not"
    )


def test_without_a_model_and_a_record() -> None:
    bertc("compile", "--target", TARGET).fails(2, "Missing argument 'MODEL'", "--help")


@pytest.mark.parametrize("name", ["none", "none/bundle.json"])
def test_no_record(onnx_model: Path, out: Path, name: str) -> None:
    ran = bertc("compile", onnx_model, "-o", out, "--from-manifest", out / name)
    ran.fails(2, "there is no bundle.json at", "the bundle.json in it")


@pytest.mark.parametrize("claim", ["a search", "a cut"])
def test_a_record_of_another_model(
    plain: Built, onnx_model: Path, out: Path, tmp_path: Path, claim: str
) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", classification_rows(120))

    def edit(document: dict[str, Any]) -> None:
        for each in document["provenance"]["data"].values():
            each["sha256"] = hashlib.sha256(rows.read_bytes()).hexdigest()
        compression, config = document["compression"], document["provenance"]["config"]
        if claim == "a search":
            config["precision"] = "auto"
            compression["quantization"]["float"] = [{"name": "nowhere", "role": "head", "reason": "own"}]
            compression["quantization"]["scheme"]["search"] = SEARCH
        else:
            config["prune_speedup"] = 1.5
            compression["pruning"] = CUT

    own = ("--from-manifest", edited(plain.path, tmp_path, edit), "--calibration-data", rows)
    part = {
        "a search": "the model has no product 'nowhere'",
        "a cut": "these are not the modules of the model",
    }
    bertc("compile", onnx_model, "-o", out, *own, "--eval-data", rows).fails(5, part[claim])
    assert not out.exists()
