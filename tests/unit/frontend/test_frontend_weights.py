from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch_file

from compiler.frontend.weights import check_weight_file, open_weights
from targets.errors import UnsupportedError, UsageError


def write(folder: Path, name: str = "model.safetensors", **tensors: Any) -> Path:
    save_file(tensors or {"a.weight": np.ones((4, 3), np.float32)}, folder / name)
    return folder / name


def shards(folder: Path) -> Path:
    write(folder, "model-00001-of-00002.safetensors", first=np.ones(3, np.float32))
    write(folder, "model-00002-of-00002.safetensors", second=np.ones(3, np.float16))
    table = {"first": "model-00001-of-00002.safetensors", "second": "model-00002-of-00002.safetensors"}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": table}))
    return index


def test_names_and_dtypes(tmp_path: Path) -> None:
    file = write(tmp_path, a=np.ones(2, np.float16), b=np.zeros((2, 2), np.float32), c=np.arange(3))
    found = open_weights(tmp_path, "m")
    assert found.files == (file,)
    assert found.index is None
    assert found.names == {"a", "b", "c"}
    assert found.dtypes == {"F16", "F32"}


def test_shards(tmp_path: Path) -> None:
    index = shards(tmp_path)
    found = open_weights(tmp_path, "m")
    assert [file.name for file in found.files] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert found.index == index
    assert found.names == {"first", "second"}


def test_missing_shard(tmp_path: Path) -> None:
    shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UsageError, match=r"model-00002-of-00002\.safetensors.*missing"):
        open_weights(tmp_path, "m")


def test_index_that_promises_too_much(tmp_path: Path) -> None:
    index = shards(tmp_path)
    table = json.loads(index.read_text())
    table["weight_map"]["third"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(table))
    with pytest.raises(UsageError, match="third"):
        open_weights(tmp_path, "m")


@pytest.mark.parametrize("name", ["../other/model.safetensors", "model.bin", "/etc/model.safetensors"])
def test_index_that_leaves_the_folder(tmp_path: Path, name: str) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(UnsupportedError, match="no safetensors file of that folder"):
        open_weights(tmp_path, "m")


@pytest.mark.parametrize("document", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {}}'])
def test_broken_index(tmp_path: Path, document: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(document)
    with pytest.raises(UsageError):
        open_weights(tmp_path, "m")


@given(cut=st.integers(min_value=0, max_value=200))
def test_every_truncation_is_seen(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("cut")
    file = write(folder, a=np.ones((8, 3), np.float32), b=np.ones(5, np.float16))
    data = file.read_bytes()
    file.write_bytes(data[: min(cut, len(data) - 1)])
    with pytest.raises(UsageError, match=r"model\.safetensors"):
        open_weights(folder, "m")


def test_truncation_says_so(tmp_path: Path) -> None:
    file = write(tmp_path)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(UsageError, match="truncated") as caught:
        open_weights(tmp_path, "m")
    assert "again" in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08\x00\x00",
        b"\xff" * 64,
        (4).to_bytes(8, "little") + b"[1]\n",
        (30).to_bytes(8, "little") + b'{"a":{"dtype":"F32","shape":1}',
        (2).to_bytes(8, "little") + b"{}" + b"trailing",
    ],
)
def test_garbage(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(data)
    with pytest.raises(UsageError):
        check_weight_file(file)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64, torch.bfloat16])
def test_values_that_are_not_finite(tmp_path: Path, bad: float, dtype: Any) -> None:
    values = torch.ones((50, 3), dtype=dtype)
    values[31, 2] = bad
    good = torch.full((50, 3), torch.finfo(torch.float16).max)
    save_torch_file({"layer.1.weight": values, "layer.0.weight": good}, tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedError, match=r"layer\.1\.weight holds NaN or infinite"):
        open_weights(tmp_path, "m")


@given(values=st.lists(st.floats(width=16), min_size=1, max_size=40))
def test_finite_means_what_numpy_means(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    array = np.array(values, np.float16)
    file = write(tmp_path_factory.mktemp("values"), a=array)
    if np.isfinite(array).all():
        assert check_weight_file(file) == {"a"}
    else:
        with pytest.raises(UnsupportedError):
            check_weight_file(file)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model-00001-of-00002.bin", "weights.pt"])
def test_pickled_only(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    (tmp_path / "training_args.bin").write_bytes(b"")
    with pytest.raises(UnsupportedError, match=f"only pickled weights.*{name}") as caught:
        open_weights(tmp_path, "m")
    assert "safe_serialization=True" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "error", "word"),
    [
        ("tf_model.h5", UnsupportedError, "another framework"),
        ("adapter_config.json", UnsupportedError, "adapter"),
        ("onnx/model.onnx", UsageError, "onnx/model.onnx"),
        ("notes.txt", UsageError, "no weights"),
    ],
)
def test_other_folders(tmp_path: Path, name: str, error: type[Exception], word: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(error, match=word):
        open_weights(tmp_path, "m")


def test_quantized_storage(tmp_path: Path) -> None:
    values = torch.zeros(4, dtype=torch.float8_e4m3fn)
    save_torch_file({"a": values}, tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedError, match="stored as F8_E4M3"):
        open_weights(tmp_path, "m")
