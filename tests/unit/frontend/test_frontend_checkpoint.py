from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compiler.frontend.checkpoint import load_checkpoint
from targets.errors import UnsupportedError, UsageError
from tests.support.models import NER_LABELS, SENTIMENT_LABELS, TOPIC_LABELS, add_sentence_modules

Make = Callable[..., Path]


@pytest.fixture
def copy(checkpoint: Make, tmp_path: Path) -> Make:
    def get(*args: Any, **options: Any) -> Path:
        folder = tmp_path / "my-model"
        shutil.copytree(checkpoint(*args, **options), folder)
        return folder

    return get


def edit(folder: Path, **changes: Any) -> Path:
    file = folder / "config.json"
    config = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return folder


def test_what_it_says(copy: Make) -> None:
    folder = copy()
    (folder / "README.md").write_text("---\ntags: [x]\nlicense: apache-2.0\n---\n# Model\nlicense: no\n")
    found = load_checkpoint(folder)
    assert (found.source, found.name, found.model_type) == ("folder", "my-model", "bert")
    assert found.task == "text-classification"
    assert found.task_config.labels == SENTIMENT_LABELS
    assert found.task_config.problem_type == "single_label_classification"
    assert found.positions == found.tokenizer.spec.max_length == 128
    assert found.modules is None
    record = found.provenance
    assert record["model"] == "my-model"
    assert record["license"] == "apache-2.0"
    assert record["weights_dtype"] == ["F32"]
    files = record["files"]
    assert isinstance(files, dict)
    assert set(files) >= {"config.json", "model.safetensors", "tokenizer.json"}
    wanted = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert files["model.safetensors"] == wanted
    assert str(folder.parent) not in json.dumps(record)


def test_the_same_twice(checkpoint: Make) -> None:
    first, second = load_checkpoint(checkpoint()), load_checkpoint(str(checkpoint()))
    assert first.provenance == second.provenance
    assert first.tokenizer.files == second.tokenizer.files


@pytest.mark.parametrize(
    ("options", "problem_type", "labels"),
    [
        ({"problem_type": "regression"}, "regression", ("score",)),
        ({"labels": ["score"]}, "regression", ("score",)),
        ({"problem_type": "multi_label_classification"}, "multi_label_classification", TOPIC_LABELS),
        (
            {"labels": [f"L{i}" for i in range(12)]},
            "single_label_classification",
            tuple(f"L{i}" for i in range(12)),
        ),
    ],
)
def test_problem_types(
    checkpoint: Make, options: dict[str, Any], problem_type: str, labels: tuple[str, ...]
) -> None:
    config = load_checkpoint(checkpoint("bert", "text-classification", **options)).task_config
    assert (config.problem_type, config.labels) == (problem_type, labels)


def test_token_labels_and_no_labels(checkpoint: Make) -> None:
    assert load_checkpoint(checkpoint("bert", "token-classification")).task_config.labels == NER_LABELS
    assert load_checkpoint(checkpoint("bert", "question-answering")).task_config.labels == ()


@pytest.mark.parametrize(
    ("family", "positions"), [("roberta", 130), ("xlm-roberta", 130), ("distilbert", 128)]
)
def test_positions(checkpoint: Make, family: str, positions: int) -> None:
    found = load_checkpoint(checkpoint(family))
    assert found.config["max_position_embeddings"] == positions
    assert found.positions == found.tokenizer.spec.max_length == 128


def test_max_length(copy: Make) -> None:
    folder = copy()
    assert load_checkpoint(folder, max_length=32).tokenizer.spec.max_length == 32
    with pytest.raises(UsageError, match="129 is more than the 128 positions") as caught:
        load_checkpoint(folder, max_length=129)
    assert "--max-length 128" in caught.value.hint
    with pytest.raises(UsageError, match="too short"):
        load_checkpoint(folder, max_length=2)
    stored = json.loads((folder / "tokenizer_config.json").read_text())
    for own, wanted in ((64, 64), (10**30, 128), (512, 128)):
        (folder / "tokenizer_config.json").write_text(json.dumps({**stored, "model_max_length": own}))
        assert load_checkpoint(folder).tokenizer.spec.max_length == wanted


def test_plain_encoder_is_mean_pooled(checkpoint: Make) -> None:
    found = load_checkpoint(checkpoint("distilbert", "feature-extraction"))
    assert found.task == "feature-extraction"
    assert (found.task_config.pooling, found.task_config.dimension) == ("mean", 32)


def test_sentence_modules(copy: Make) -> None:
    folder = copy("bert", "fill-mask")
    add_sentence_modules(folder, hidden=32, pooling="cls", dense=24, max_length=50)
    found = load_checkpoint(folder)
    assert found.task == "feature-extraction"
    assert (found.task_config.pooling, found.task_config.dimension) == ("cls", 24)
    assert found.tokenizer.spec.max_length == 50
    files = found.provenance["files"]
    assert isinstance(files, dict)
    assert {"modules.json", "1_Pooling/config.json", "2_Dense/model.safetensors"} <= files.keys()
    masked = load_checkpoint(folder, task="fill-mask")
    assert masked.tokenizer.spec.max_length == 128
    assert masked.modules is None


def test_encoder_in_its_own_folder(copy: Make) -> None:
    inner = copy("bert", "feature-extraction")
    outer = inner.parent / "sentence-model"
    shutil.copytree(inner, outer / "0_Transformer")
    add_sentence_modules(outer, hidden=32)
    listing = json.loads((outer / "modules.json").read_text())
    listing[0]["path"] = "0_Transformer"
    (outer / "modules.json").write_text(json.dumps(listing))
    found = load_checkpoint(outer)
    assert found.encoder_path == outer / "0_Transformer"
    assert found.name == "sentence-model"
    (outer / "modules.json").unlink()
    with pytest.raises(UsageError, match=r"no config\.json") as caught:
        load_checkpoint(outer)
    assert "sentence-model/0_Transformer" in caught.value.hint


def test_no_config(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a model folder"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_broken_config(copy: Make, content: str) -> None:
    folder = copy()
    (folder / "config.json").write_text(content)
    with pytest.raises(UsageError, match=r"config\.json"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_missing_parts(copy: Make, name: str) -> None:
    folder = copy()
    (folder / name).unlink()
    with pytest.raises(UsageError, match="no weights" if name.startswith("model") else "no tokenizer"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"id2label": {"1": "a", "2": "b"}}, UsageError),
        ({"problem_type": "ranking"}, UnsupportedError),
        ({"hidden_size": "wide"}, UnsupportedError),
        ({"auto_map": {"AutoModel": "x.Y"}}, UnsupportedError),
        ({"is_decoder": True}, UnsupportedError),
    ],
)
def test_configs_that_are_declined(copy: Make, changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        load_checkpoint(edit(copy(), **changes))
    assert "\n" not in str(caught.value)


def test_task_without_a_head(checkpoint: Make) -> None:
    with pytest.raises(UnsupportedError, match="no head for token-classification"):
        load_checkpoint(checkpoint(), task="ner")


def test_hub_checkpoint(copy: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    monkeypatch.chdir(tmp_path)
    snapshot = copy().rename(tmp_path / ("0" * 40))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(snapshot))
    found = load_checkpoint("someone/tiny-bert")
    assert (found.source, found.name) == ("hub", "tiny-bert")
    assert found.provenance["model"] == "someone/tiny-bert"
    assert found.provenance["commit"] == snapshot.name


def test_importing_is_light() -> None:
    code = (
        "import sys, compiler.frontend.checkpoint, compiler.frontend.export\n"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
