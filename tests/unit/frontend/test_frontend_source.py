from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import huggingface_hub
import huggingface_hub.constants
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.frontend.reading import inside, safe_name
from compiler.frontend.source import resolve_source
from targets.errors import UnsupportedError, UsageError


def test_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my model (v2)"
    folder.mkdir()
    source = resolve_source(folder)
    assert (source.kind, source.path, source.origin) == ("folder", folder, "my model (v2)")
    assert source.name == "my-model-v2"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("bert-sst2.onnx", "bert-sst2"),
        ("minilm/model.onnx", "minilm"),
        ("minilm/onnx/model.onnx", "minilm"),
        ("minilm/onnx/model_fp32.onnx", "model_fp32"),
    ],
)
def test_onnx_file(tmp_path: Path, path: str, name: str) -> None:
    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    source = resolve_source(str(file))
    assert (source.kind, source.name, source.origin) == ("onnx", name, file.name)


@pytest.mark.parametrize(
    "model", ["/nowhere/minilm", "./minlm", "a/b/c", "minlm.onnx", "", "~nobody x", "a" * 300 + "/b c"]
)
def test_no_such_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="no such path"):
        resolve_source(model)


def test_path_objects_are_never_hub_ids() -> None:
    with pytest.raises(UsageError, match="no such path"):
        resolve_source(Path("someone/model"))


def test_nearest_folders_are_named(tmp_path: Path) -> None:
    (tmp_path / "minilm-sst2").mkdir()
    with pytest.raises(UsageError) as caught:
        resolve_source(tmp_path / "minilm-sts2")
    assert "minilm-sst2" in caught.value.hint


def test_single_files_of_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UsageError, match="single file") as caught:
        resolve_source(tmp_path / "model.safetensors")
    assert str(tmp_path) in caught.value.hint
    (tmp_path / "model.gguf").touch()
    with pytest.raises(UnsupportedError, match=r"model\.gguf"):
        resolve_source(tmp_path / "model.gguf")


@pytest.mark.parametrize("hub_id", ["bert-base-uncased", "someone/some-model"])
def test_offline_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub_id: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="hub cannot be reached") as caught:
        resolve_source(hub_id)
    assert "local model folder" in caught.value.hint
    assert "\n" not in caught.value.message


def test_offline_hub_names_the_folder_that_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "minilm-sst2").mkdir()
    with pytest.raises(UsageError) as caught:
        resolve_source("minilm-sst")
    assert "minilm-sst2" in caught.value.hint


def test_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = tmp_path / "snapshots" / "0123abcd"
    snapshot.mkdir(parents=True)
    asked: dict[str, Any] = {}

    def download(repo_id: str, **options: Any) -> str:
        asked.update(options, repo_id=repo_id)
        return str(snapshot)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    source = resolve_source("someone/some-model", revision="v1")
    assert (source.kind, source.name, source.origin) == ("hub", "some-model", "someone/some-model")
    assert source.commit == "0123abcd"
    assert asked["revision"] == "v1"
    assert not any(pattern.endswith((".bin", ".pt", ".onnx", "*")) for pattern in asked["allow_patterns"])


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("RepositoryNotFoundError", "neither a path nor a repository"),
        ("GatedRepoError", "gated"),
        ("RevisionNotFoundError", "no revision 'v9'"),
    ],
)
def test_hub_refusals(monkeypatch: pytest.MonkeyPatch, name: str, word: str) -> None:
    from huggingface_hub import errors

    response = MagicMock()

    def download(*_: Any, **__: Any) -> str:
        raise getattr(errors, name)("refused", response=response)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(UsageError, match=word):
        resolve_source("someone/some-model", revision="v9")


@given(text=st.text(max_size=40))
def test_safe_names_are_safe(text: str) -> None:
    name = safe_name(text)
    assert name
    assert all(character.isascii() and (character.isalnum() or character in "._-") for character in name)
    assert name[0] not in ".-_"
    assert safe_name(name) == name


@pytest.mark.parametrize("relative", ["../x", "/etc", "a/../../b", "a\\b"])
def test_inside_confines(tmp_path: Path, relative: str) -> None:
    with pytest.raises(UsageError, match="outside of its folder"):
        inside(tmp_path, relative)
    assert inside(tmp_path, "1_Pooling/config.json") == tmp_path / "1_Pooling" / "config.json"
