"""What clients read in a bundle's model/: configuration, tokenizer, modules of a sentence embedding."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from compiler.clients import client_files
from compiler.frontend.checkpoint import load_checkpoint
from targets.bundle.schema import Manifest, RuntimeSpec, TensorSpec
from tests.support.bundles import sample_manifest
from tests.support.compiling import Checkpoints

LENGTH = 24
MODULE_FILES = {
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
}


def manifest_of(rows: int | str, width: int, **options: str) -> Manifest:
    """Of an embedding bundle whose `last_hidden_state` has these rows; with options on OpenVINO."""
    sample = sample_manifest()
    backend: Any = "openvino" if options else "onnxruntime"
    return replace(
        sample,
        task="feature-extraction",
        runtime=RuntimeSpec(backend, "1", "1", "model/model.onnx", "int8", options),
        outputs=(
            TensorSpec("sentence_embedding", "float32", ("batch", width)),
            TensorSpec("last_hidden_state", "float32", ("batch", rows, width)),
        ),
        tokenizer=replace(sample.tokenizer, max_length=LENGTH),
    )


def embedding_files(checkpoint: Checkpoints, manifest: Manifest, **modules: Any) -> dict[str, Any]:
    loaded = load_checkpoint(str(checkpoint("minilm", "feature-extraction", **modules)), max_length=LENGTH)
    return {path: json.loads(data) for path, data in client_files(loaded, manifest).items()}


def kinds(files: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["type"].rpartition(".")[2], each["path"]) for each in files["modules.json"]]


def modes(files: dict[str, Any]) -> set[str]:
    return {key for key, value in files["1_Pooling/config.json"].items() if value is True}


@pytest.mark.parametrize(
    ("problem", "task"),
    [
        ("multi_label_classification", "text-classification"),
        ("regression", "text-classification"),
        (None, "text-classification"),
        (None, "token-classification"),
    ],
)
def test_configuration_and_tokenizer(checkpoint: Checkpoints, problem: str | None, task: str) -> None:
    options = {} if problem is None else {"problem_type": problem}
    loaded = load_checkpoint(str(checkpoint("bert", task, **options)), max_length=LENGTH)
    files = client_files(loaded, sample_manifest())
    assert files.keys() == {"config.json", *loaded.tokenizer.files}
    assert {"tokenizer.json", "tokenizer_config.json"} <= files.keys()
    config, settings = (json.loads(files[name]) for name in ("config.json", "tokenizer_config.json"))
    assert [config["id2label"][str(index)] for index in range(len(config["id2label"]))] == [
        *loaded.task_config.labels
    ]
    assert config.get("problem_type") == loaded.task_config.problem_type
    assert "_name_or_path" not in config
    assert settings["model_max_length"] == LENGTH


def test_one_output_is_said_to_be_a_number(checkpoint: Checkpoints) -> None:
    """Clients would take a softmax over the only logit of a checkpoint that does not say what it is."""
    loaded = load_checkpoint(str(checkpoint(labels=("score",), problem_type="regression")))
    without = {key: value for key, value in loaded.config.items() if key != "problem_type"}
    files = client_files(replace(loaded, config=without), sample_manifest())
    assert json.loads(files["config.json"])["problem_type"] == "regression"


def test_mean_pooling_and_normalize(checkpoint: Checkpoints) -> None:
    files = embedding_files(checkpoint, manifest_of("sequence", 32), pooling="mean", normalize=True)
    assert files.keys() >= MODULE_FILES
    assert kinds(files) == [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")]
    assert modes(files) == {"pooling_mode_mean_tokens"}
    assert files["1_Pooling/config.json"]["word_embedding_dimension"] == 32
    assert files["sentence_bert_config.json"] == {"do_lower_case": False, "max_seq_length": LENGTH}


@pytest.mark.parametrize("pooling", ["mean", "max", "mean_sqrt_len"])
def test_every_pooling_of_token_vectors(checkpoint: Checkpoints, pooling: str) -> None:
    files = embedding_files(checkpoint, manifest_of("sequence", 32), pooling=pooling)
    assert kinds(files) == [("Transformer", ""), ("Pooling", "1_Pooling")]
    assert modes(files) == {f"pooling_mode_{pooling}_tokens"}


@pytest.mark.parametrize(
    ("modules", "width"),
    [({"pooling": "cls"}, 32), ({"pooling": "mean", "dense": 16, "normalize": True}, 16)],
)
def test_the_embedding_is_the_only_row(checkpoint: Checkpoints, modules: dict[str, Any], width: int) -> None:
    """What follows the encoder is in the model: clients take its row and do nothing more."""
    files = embedding_files(checkpoint, manifest_of(1, width), **modules)
    assert kinds(files) == [("Transformer", ""), ("Pooling", "1_Pooling")]
    assert modes(files) == {"pooling_mode_cls_token"}
    assert files["1_Pooling/config.json"]["word_embedding_dimension"] == width


def test_openvino_gets_its_options(checkpoint: Checkpoints) -> None:
    manifest = manifest_of("sequence", 32, INFERENCE_PRECISION_HINT="f32")
    settings = embedding_files(checkpoint, manifest, pooling="mean")["sentence_bert_config.json"]
    assert settings["model_args"] == {"ov_config": {"INFERENCE_PRECISION_HINT": "f32"}}


def test_no_modules_without_a_sentence_embedding(checkpoint: Checkpoints) -> None:
    manifest = manifest_of("sequence", 32)
    single = replace(manifest, outputs=(manifest.outputs[0],))
    assert not embedding_files(checkpoint, single, pooling="mean").keys() & MODULE_FILES


def test_an_encoder_without_modules_is_pooled_by_its_mean(checkpoint: Checkpoints) -> None:
    loaded = load_checkpoint(str(checkpoint("bert", "feature-extraction")), task="feature-extraction")
    files = client_files(loaded, manifest_of("sequence", 32))
    listing = {path: json.loads(files[path]) for path in MODULE_FILES}
    assert kinds(listing) == [("Transformer", ""), ("Pooling", "1_Pooling")]
    assert modes(listing) == {"pooling_mode_mean_tokens"}


def test_prompts_are_kept_and_none_is_the_default(checkpoint: Checkpoints) -> None:
    loaded = load_checkpoint(str(checkpoint("minilm", "feature-extraction", pooling="mean")))
    assert loaded.modules is not None
    settings = {"prompts": {"query": "query: "}, "similarity_fn_name": "cosine"}
    modules = replace(loaded.modules, settings=settings)
    files = client_files(replace(loaded, modules=modules), manifest_of("sequence", 32))
    assert json.loads(files["config_sentence_transformers.json"]) == settings
