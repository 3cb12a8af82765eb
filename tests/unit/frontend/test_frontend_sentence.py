from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from compiler.frontend.heads import SentenceHead, load_sentence_head
from compiler.frontend.sentence import DenseModule, NormalizeModule, read_modules
from targets.errors import UnsupportedError, UsageError
from tests.support.models import add_sentence_modules


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def modules_json(folder: Path, *kinds: tuple[str, str]) -> None:
    put(
        folder / "modules.json",
        [
            {"idx": i, "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(kinds)
        ],
    )


def test_none_without_modules(tmp_path: Path) -> None:
    assert read_modules(tmp_path) is None


def test_the_usual_modules(tmp_path: Path) -> None:
    add_sentence_modules(tmp_path, hidden=8, pooling="max", dense=5, normalize=True, max_length=40)
    found = read_modules(tmp_path)
    assert found is not None
    assert found.pooling == ("max",)
    assert found.max_length == 40
    assert not found.lowercase
    assert found.dimension(8) == 5
    dense, normalize = found.stages
    assert isinstance(dense, DenseModule)
    assert (dense.inputs, dense.outputs, dense.activation) == (8, 5, "Tanh")
    assert isinstance(normalize, NormalizeModule)
    assert {file.name for file in found.files} >= {"modules.json", "model.safetensors", "config.json"}


def test_transformer_in_its_own_folder(tmp_path: Path) -> None:
    modules_json(
        tmp_path, ("Transformer", "0_Transformer"), ("Pooling", "1_Pooling"), ("Dropout", "2_Dropout")
    )
    put(tmp_path / "1_Pooling" / "config.json", {"pooling_mode": "lasttoken"})
    put(
        tmp_path / "0_Transformer" / "sentence_roberta_config.json",
        {"max_seq_length": 9, "do_lower_case": True},
    )
    found = read_modules(tmp_path)
    assert found is not None
    assert found.encoder == tmp_path / "0_Transformer"
    assert (found.pooling, found.max_length, found.lowercase) == (("lasttoken",), 9, True)
    assert found.stages == ()


def test_concatenated_pooling(tmp_path: Path) -> None:
    modules_json(tmp_path, ("Transformer", ""), ("Pooling", "1_Pooling"))
    modes = {
        "pooling_mode_mean_tokens": True,
        "pooling_mode_cls_token": True,
        "pooling_mode_max_tokens": False,
    }
    put(tmp_path / "1_Pooling" / "config.json", modes)
    found = read_modules(tmp_path)
    assert found is not None
    assert found.pooling == ("cls", "mean")
    assert found.dimension(8) == 16


def test_a_default_prompt_is_told(tmp_path: Path) -> None:
    add_sentence_modules(tmp_path, hidden=8)
    prompts = {"default_prompt_name": "q", "prompts": {"q": "query: "}}
    put(tmp_path / "config_sentence_transformers.json", prompts)
    found = read_modules(tmp_path)
    assert found is not None
    assert "query: " in found.notes[0]


@pytest.mark.parametrize(
    ("kinds", "word"),
    [
        ([], "starts with nothing"),
        ([("CLIPModel", "")], "starts with CLIPModel"),
        ([("Transformer", "")], "no Pooling"),
        ([("Transformer", ""), ("Pooling", "1_Pooling"), ("CNN", "2_CNN")], "the module CNN"),
        ([("Transformer", ""), ("Normalize", "2"), ("Pooling", "1_Pooling")], "Pooling that is not"),
    ],
)
def test_modules_that_are_declined(tmp_path: Path, kinds: list[tuple[str, str]], word: str) -> None:
    modules_json(tmp_path, *kinds)
    put(tmp_path / "1_Pooling" / "config.json", {"pooling_mode": "mean"})
    with pytest.raises(UnsupportedError, match=word):
        read_modules(tmp_path)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"pooling_mode": "magic"}, "magic"),
        ({"pooling_mode_mean_tokens": False}, "no mode"),
        ({"pooling_mode_odd_tokens": True}, "odd"),
    ],
)
def test_pooling_that_is_declined(tmp_path: Path, config: dict[str, Any], word: str) -> None:
    modules_json(tmp_path, ("Transformer", ""), ("Pooling", "1_Pooling"))
    put(tmp_path / "1_Pooling" / "config.json", config)
    with pytest.raises(UnsupportedError, match=word):
        read_modules(tmp_path)


def test_broken_modules(tmp_path: Path) -> None:
    put(tmp_path / "modules.json", {"a": 1})
    with pytest.raises(UsageError, match="no list of modules"):
        read_modules(tmp_path)
    modules_json(tmp_path, ("Transformer", "../elsewhere"))
    with pytest.raises(UsageError, match="outside of its folder"):
        read_modules(tmp_path)
    modules_json(tmp_path, ("Transformer", ""), ("Pooling", "1_Pooling"))
    with pytest.raises(UsageError, match=r"1_Pooling/config\.json, which is missing"):
        read_modules(tmp_path)


def test_dense_with_foreign_activation_or_pickle(tmp_path: Path) -> None:
    add_sentence_modules(tmp_path, hidden=8, dense=5)
    config = {"in_features": 8, "out_features": 5, "activation_function": "os.system"}
    put(tmp_path / "2_Dense" / "config.json", config)
    with pytest.raises(UnsupportedError, match=r"os\.system"):
        read_modules(tmp_path)
    put(
        tmp_path / "2_Dense" / "config.json",
        {**config, "activation_function": "torch.nn.modules.activation.ReLU"},
    )
    (tmp_path / "2_Dense" / "model.safetensors").rename(tmp_path / "2_Dense" / "pytorch_model.bin")
    with pytest.raises(UnsupportedError, match="only pickled weights"):
        read_modules(tmp_path)


def test_dense_of_another_width(tmp_path: Path) -> None:
    add_sentence_modules(tmp_path, hidden=8, dense=5)
    found = read_modules(tmp_path)
    assert found is not None
    assert load_sentence_head(found, 8)(torch.ones(1, 2, 8), torch.ones(1, 2)).shape == (1, 5)
    with pytest.raises(UsageError, match="2_Dense do not fit"):
        load_sentence_head(found, 12)


def test_poolings_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(3, 6, 4)).astype(np.float32) - 5
    lengths = (6, 1, 4)
    mask = np.array([[1] * n + [0] * (6 - n) for n in lengths], np.int64)
    for mode, pool in {
        "cls": lambda x: x[0],
        "max": lambda x: x.max(0),
        "mean": lambda x: x.mean(0),
        "mean_sqrt_len": lambda x: x.sum(0) / np.sqrt(len(x)),
        "weightedmean": lambda x: np.average(x, axis=0, weights=np.arange(1, len(x) + 1)),
        "lasttoken": lambda x: x[-1],
    }.items():
        got = SentenceHead((mode,), ())(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()  # type: ignore[arg-type]
        wanted = np.stack([pool(row[:n]) for row, n in zip(tokens, lengths, strict=True)])
        np.testing.assert_allclose(got, wanted, rtol=2e-6, atol=2e-6, err_msg=mode)
