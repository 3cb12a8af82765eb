"""Every family and every task: compiled to INT8 for both runtimes, validated, run and read."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from targets import Bundle
from targets.bundle.schema import Manifest
from targets.runtime.tasks import Answer, Classification, Embedding, FillMask, TokenClassification
from tests.support.compiling import RUNTIMES, TARGET, Bundles, Data, bertc
from tests.support.models import NER_LABELS, SENTIMENT_LABELS

PAIRS = (
    ("bert", "text-classification"),
    ("bert", "token-classification"),
    ("bert", "question-answering"),
    ("bert", "feature-extraction"),
    ("bert", "fill-mask"),
    ("roberta", "text-classification"),
    ("electra", "token-classification"),
    ("distilbert", "question-answering"),
    ("minilm", "feature-extraction"),
    ("xlm-roberta", "fill-mask"),
)
METRICS = {
    "text-classification": "accuracy",
    "token-classification": "entity_f1",
    "question-answering": "f1",
    "feature-extraction": "spearman",
    "fill-mask": "accuracy",
}
CONTEXT = "The old bridge of Paris was repaired in 1998 by Grace Hopper."
TEXTS: dict[str, list[Any]] = {
    "text-classification": ["a gripping film", ("a dull plot", "a boring story"), ""],
    "token-classification": ["Anna Keller left Acme Corp in New York .", "no"],
    "question-answering": [("When was the bridge repaired?", CONTEXT)],
    "feature-extraction": ["a gripping film", "the battery is dull and the screen is noisy", "no"],
    "fill-mask": ["the film is {mask} and the {mask} is warm"],
}

parametrized = pytest.mark.parametrize(
    ("family", "task", "runtime"), [(*pair, runtime) for pair in PAIRS for runtime in RUNTIMES]
)


def items_of(task: str, manifest: Manifest) -> list[Any]:
    mask = "<mask>" if manifest.tokenizer.pad_token == "<pad>" else "[MASK]"
    return [each.replace("{mask}", mask) if isinstance(each, str) else each for each in TEXTS[task]]


@parametrized
def test_the_record(bundles: Bundles, family: str, task: str, runtime: str) -> None:
    built = bundles(family, task, runtime)
    result = built.result
    assert (result.runtime, result.target, result.precision) == (runtime, TARGET, "int8")
    assert result.path.name == f"{family}-{task}-{TARGET}.bundle"
    weights = max(path.stat().st_size for path in (result.path / "model").iterdir() if path.suffix != ".xml")
    assert weights < 0.6 * result.source_bytes
    validation = result.validation
    assert (validation.metric, validation.status, validation.evidence) == (
        METRICS[task],
        "passed",
        "measured",
    )
    assert validation.n == 24
    assert validation.agreement is not None
    assert validation.agreement > (0.99 if task == "feature-extraction" else 0.7)
    assert validation.ci95 is not None
    assert validation.ci95[0] <= validation.ci95[1]
    manifest = Bundle.open(built.path).manifest
    assert manifest.validation == validation.to_json()
    assert manifest.task == task
    assert manifest.compression["precision"] == "int8"
    assert not built.progress.warnings


@parametrized
def test_progress_reaches_the_end(bundles: Bundles, family: str, task: str, runtime: str) -> None:
    progress = bundles(family, task, runtime).progress
    assert progress.started == progress.finished
    assert progress.started[-1] == "packaging"
    assert {"tracing", "calibrating", f"lowering to {runtime}", f"validating on {runtime}"} <= set(
        progress.started
    )
    for stage, total in progress.totals.items():
        if total is not None:
            assert progress.steps[stage] == total, stage


@parametrized
def test_predictions(bundles: Bundles, family: str, task: str, runtime: str) -> None:
    bundle = Bundle.open(bundles(family, task, runtime).path)
    bundle.check_device()
    items = items_of(task, bundle.manifest)
    with bundle.session(threads=1) as session:
        found = session.predict(items)
        alone = [session.predict([each])[0] for each in items]
        assert session.predict([]) == []
    assert len(found) == len(items)
    for item, prediction, single in zip(items, found, alone, strict=True):
        check(prediction, item, bundle.manifest)
        check(single, item, bundle.manifest)


def check(prediction: Any, item: Any, manifest: Manifest) -> None:
    if manifest.task == "text-classification":
        assert isinstance(prediction, Classification)
        assert tuple(prediction.scores) == SENTIMENT_LABELS
        assert sum(prediction.scores.values()) == pytest.approx(1.0)
        assert prediction.score == max(prediction.scores.values()) == prediction.scores[prediction.label]
    elif manifest.task == "token-classification":
        assert isinstance(prediction, TokenClassification)
        for entity in prediction.entities:
            assert item[entity.start : entity.end] == entity.text != ""
            assert entity.label in {name.partition("-")[2] for name in NER_LABELS}
            assert 0.0 < entity.score <= 1.0
    elif manifest.task == "question-answering":
        assert isinstance(prediction, Answer)
        assert CONTEXT[prediction.start : prediction.end] == prediction.answer != ""
        assert 0.0 < prediction.score <= 1.0
    elif manifest.task == "feature-extraction":
        assert isinstance(prediction, Embedding)
        assert prediction.embedding.dtype == np.float32
        assert np.isfinite(prediction.embedding).all()
        if manifest.task_config.dimension is not None:
            assert prediction.embedding.shape == (manifest.task_config.dimension,)
    else:
        assert isinstance(prediction, FillMask)
        assert [len(mask) for mask in prediction.candidates] == [5, 5]
        for mask in prediction.candidates:
            scores = [candidate.score for candidate in mask]
            assert scores == sorted(scores, reverse=True)
            assert mask[0].sequence.count(mask[0].token.removeprefix("##").strip()) >= 1


@parametrized
def test_raw_outputs(bundles: Bundles, family: str, task: str, runtime: str) -> None:
    bundle = Bundle.open(bundles(family, task, runtime).path)
    manifest = bundle.manifest
    feeds = {"input_ids": np.array([[2, 40, 41, 3], [2, 50, 3, manifest.tokenizer.pad_id]])}
    feeds["attention_mask"] = np.array([[1, 1, 1, 1], [1, 1, 1, 0]])
    with bundle.session(threads=1) as session:
        found = session.run(feeds)
    sizes = {"batch": 2, "sequence": 4}
    assert set(found) == {spec.name for spec in manifest.outputs}
    for spec in manifest.outputs:
        assert found[spec.name].dtype == spec.dtype
        assert found[spec.name].shape == tuple(sizes.get(str(axis), axis) for axis in spec.shape), spec.name


@parametrized
def test_the_command_runs_it(bundles: Bundles, family: str, task: str, runtime: str) -> None:
    built = bundles(family, task, runtime)
    item = items_of(task, Bundle.open(built.path).manifest)[0]
    texts = ["--text", item] if isinstance(item, str) else ["--text", item[0], "--text-pair", item[1]]
    ran = bertc("run", built.path, "--json", *texts)
    assert (ran.code, ran.err) == (0, "")
    row = json.loads(ran.out)
    assert row.pop("text") == (item if isinstance(item, str) else item[0])
    expected = {
        "text-classification": {"label", "score", "scores"},
        "token-classification": {"entities"},
        "question-answering": {"text_pair", "answer", "score", "start", "end"},
        "feature-extraction": {"embedding"},
        "fill-mask": {"candidates"},
    }
    assert set(row) == expected[task]
    people = bertc("run", built.path, *texts)
    assert (people.code, people.err) == (0, "")
    assert people.out.strip()


@parametrized
def test_verify_and_selftest(bundles: Bundles, family: str, task: str, runtime: str) -> None:
    built = bundles(family, task, runtime)
    verified = bertc("verify", built.path, "--json")
    assert (verified.code, verified.err) == (0, "")
    assert json.loads(verified.out)["content_digest"] == built.result.content_digest
    tested = bertc("selftest", built.path, "--json")
    assert (tested.code, tested.err) == (0, "")
    assert json.loads(tested.out)["ok"] is True


@parametrized
def test_validate_again(bundles: Bundles, task_data: Data, family: str, task: str, runtime: str) -> None:
    built = bundles(family, task, runtime)
    ran = bertc("validate", built.path, "--eval-data", task_data(task), "--json")
    assert (ran.code, ran.err) == (0, "")
    again, before = json.loads(ran.out), built.result.validation.to_json()
    assert set(again) == set(before)
    for key in ("metric", "baseline", "n", "evidence", "status", "gate", "labelled"):
        assert again[key] == before[key]
    assert again["compiled"] == pytest.approx(before["compiled"], abs=1e-3)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_pooling_dense_and_normalize_are_in_the_bundle(bundles: Bundles, runtime: str) -> None:
    bundle = Bundle.open(bundles("minilm", "feature-extraction", runtime).path)
    assert (bundle.manifest.task_config.pooling, bundle.manifest.task_config.dimension) == ("mean", 16)
    with bundle.session(threads=1) as session:
        (found,) = session.predict(["a gripping film"])
    assert isinstance(found, Embedding)
    assert float(np.linalg.norm(found.embedding)) == pytest.approx(1.0, abs=1e-3)


def test_auto_keeps_the_faster(bundles: Bundles) -> None:
    built = bundles("bert", "text-classification", "auto")
    assert {each["runtime"] for each in built.result.candidates} == set(RUNTIMES)
    chosen, other = built.result.candidates
    assert chosen["runtime"] == built.result.runtime
    assert set(chosen["p50_ms"]) == set(other["p50_ms"]) != set()
    assert {"lowering to onnxruntime", "lowering to openvino"} <= set(built.progress.started)
    alike = bundles("bert", "text-classification", built.result.runtime)
    assert alike.result.content_digest == built.result.content_digest
