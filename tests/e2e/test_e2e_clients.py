"""A bundle's model/ in what others load it with: transformers, plain scripts, the clients of Hugging Face."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from targets import Bundle
from tests.support.compiling import RUNTIMES, Built, Bundles
from tools.client_answers import ask_clients, changes
from tools.clients import ask
from tools.clients.cases import Asked, ask_bertc
from tools.clients.compare import TOLERANCE, clients_of, compare

ROOT = Path(__file__).resolve().parent.parent.parent
ENVIRONMENTS = (".venv-clients", ".venv-clients-new")
TEXTS = ("a gripping film", "the battery is dull and the screen is noisy " * 20)
PAIRS = (("When was the bridge repaired?", "The old bridge of Paris was repaired in 1998."),)
KINDS = (("bert", "text-classification"), ("minilm", "feature-extraction"))


def asked_of(built: Built) -> Asked:
    task = built.result.path.name.partition("-")[2]
    return ask_bertc(built.path.name, built.path, PAIRS if task.startswith("question") else TEXTS)


def job_of(asked: Asked) -> dict[str, Any]:
    return {
        "bundle": asked.key,
        "folder": str(asked.path / "model"),
        "task": asked.manifest.task,
        "items": asked.items,
    }


@pytest.mark.parametrize(("family", "task"), [*KINDS, ("distilbert", "question-answering")])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_plain_script_gives_the_same_numbers(
    bundles: Bundles, family: str, task: str, runtime: str
) -> None:
    asked = asked_of(bundles(family, task, runtime))
    for client in ("tokenizer", f"alone_{runtime}"):
        arrays: dict[str, Any] = {}
        record = {"client": client, **ask.ask(job_of(asked), client, arrays)}
        found = compare(asked, record, arrays)
        assert (found.error, found.answers, found.wrong) == ("", 0, False), found
        if client != "tokenizer":
            assert found.difference is not None
            assert found.difference <= TOLERANCE
    assert changes(asked) == []


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_transformers_reads_the_configuration(bundles: Bundles, runtime: str) -> None:
    from transformers import AutoConfig

    built = bundles("bert", "text-classification", runtime)
    manifest = Bundle.open(built.path).manifest
    config = AutoConfig.from_pretrained(built.path / "model")
    assert [config.id2label[index] for index in sorted(config.id2label)] == [*manifest.task_config.labels]
    assert config.problem_type == "single_label_classification"
    assert config.model_type == "bert"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_clients_give_the_same_answers(bundles: Bundles, tmp_path: Path, environment: str) -> None:
    python = ROOT / environment / "bin" / "python"
    if not python.exists():
        pytest.skip(f"needs {environment}: make clients")
    asked = [asked_of(bundles(*kind, runtime)) for kind in KINDS for runtime in RUNTIMES]
    found = ask_clients(python, asked, tmp_path)
    assert "transformers" in found.versions
    assert {row.client for row in found.rows} >= {"tokenizer", "optimum_openvino", "sentences_openvino"}
    assert [row for row in found.rows if row.wrong] == []
    assert [line for each in asked for line in changes(each)] == []


def test_an_answer_that_differs_is_seen(bundles: Bundles) -> None:
    asked = asked_of(bundles("bert", "text-classification", "onnxruntime"))
    client = "alone_onnxruntime"
    arrays: dict[str, Any] = {}
    record = {"client": client, **ask.ask(job_of(asked), client, arrays)}
    moved = {key: value + np.float32(2 * TOLERANCE) for key, value in arrays.items()}
    assert compare(asked, record, moved).wrong
    other = {key: value[::-1] for key, value in arrays.items()}
    assert compare(asked, record, other).answers == len(TEXTS)
    assert compare(asked, {"client": client, "error": "no"}, {}).cell == "fails"
    named = {**record, "labels": ["LABEL_0", "LABEL_1"]}
    assert "LABEL_0" in compare(asked, named, arrays).error


def test_a_client_that_changes_the_folder_is_seen(bundles: Bundles, tmp_path: Path) -> None:
    import shutil

    source = bundles("bert", "text-classification", "onnxruntime").path
    copy = shutil.copytree(source, tmp_path / source.name)
    asked = ask_bertc("copy", copy, TEXTS)
    assert changes(asked) == []
    (copy / "model" / ".cache").mkdir()
    (copy / "model" / ".cache" / "x").write_text("x")
    assert any("model/.cache/x was added" in line for line in changes(asked))


def test_the_script_of_the_clients_needs_no_bertc(tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text("[]")
    command = [sys.executable, "-I", ask.__file__, "request.json", "answers.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert '"records": []' in done.stdout
    source = Path(ask.__file__).read_text("utf-8")
    assert not any(f"import {name}" in source for name in ("targets", "compiler", "calibration"))


def test_which_clients_load_a_bundle(bundles: Bundles) -> None:
    packages = ["onnxruntime", "openvino", "optimum-onnx"]
    embedding = asked_of(bundles("minilm", "feature-extraction", "openvino"))
    assert clients_of(embedding, packages)[-2:] == ["sentences_openvino", "sentences_openvino batch"]
    classifier = asked_of(bundles("bert", "text-classification", "onnxruntime"))
    assert clients_of(classifier, packages)[-1] == "pipeline_onnxruntime"
    assert clients_of(classifier, ["openvino"]) == []
