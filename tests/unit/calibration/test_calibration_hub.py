"""Data sets by name, through a stand-in for the `datasets` library."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from calibration import DataOptions, Example, open_dataset
from calibration.hub import parse_name
from targets.errors import UsageError

TEXT = "text-classification"


class Features(dict[str, Any]):
    def to_dict(self) -> dict[str, Any]:
        return dict(self)


class Loaded:
    features = Features(
        sentence={"dtype": "string", "_type": "Value"},
        label={"names": ["negative", "positive"], "_type": "ClassLabel"},
    )
    column_names = ("sentence", "label")

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str]]:
    """Installs a library that knows ("glue", "sst2") and returns what it is asked for."""
    calls: list[tuple[str, str | None, str]] = []

    def load_dataset(path: str, name: str | None = None, *, split: str) -> Loaded:
        calls.append((path, name, split))
        if (path, name) != ("glue", "sst2"):
            raise FileNotFoundError(f"no dataset {path}\nsecond line")
        if split == "nothing":
            return Loaded([])
        return Loaded([{"sentence": "fine", "label": 1}, {"sentence": "poor", "label": 0}])

    module = ModuleType("datasets")
    module.__dict__["load_dataset"] = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return calls


def test_name_with_configuration_and_split(asked: list[tuple[str, str | None, str]]) -> None:
    dataset = open_dataset("glue/sst2:validation", TEXT)
    assert list(dataset) == [Example("fine", label=1, row=1), Example("poor", label=0, row=2)]
    assert dataset.label_names == ("negative", "positive")
    assert asked[:2] == [("glue/sst2", None, "validation"), ("glue", "sst2", "validation")]
    assert dataset.name == "glue/sst2:validation"


def test_split_of_the_options_wins_and_train_is_the_default(asked: list[tuple[str, str | None, str]]) -> None:
    open_dataset("glue/sst2:validation", TEXT, DataOptions(split="test"))
    open_dataset("glue/sst2", TEXT)
    assert [split for _, _, split in asked] == ["test", "test", "train", "train"]


@pytest.mark.usefixtures("asked")
def test_digest_is_of_the_rows() -> None:
    digests = {open_dataset("glue/sst2", TEXT).digest for _ in range(2)}
    assert len(digests) == 1
    assert len(digests.pop()) == 64


@pytest.mark.usefixtures("asked")
def test_a_name_that_cannot_be_loaded() -> None:
    with pytest.raises(UsageError) as caught:
        open_dataset("nobody/nothing", TEXT)
    assert caught.value.message.endswith("cannot load its split 'train': no dataset nobody/nothing")
    with pytest.raises(UsageError, match="no rows"):
        open_dataset("glue/sst2:nothing", TEXT)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match="is no file") as caught:
        open_dataset("glue/sst2", TEXT)
    assert "pip install datasets" in caught.value.hint


def test_readings_of_a_name() -> None:
    assert parse_name("imdb") == ([("imdb", None)], None)
    assert parse_name("a/b:test") == ([("a/b", None), ("a", "b")], "test")
    assert parse_name("a/b/c:") == ([("a/b", "c")], "")
