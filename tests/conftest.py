"""Fixtures for all tests: cached tiny checkpoints, data files and the shared data where it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from tests.support.data import write_task_data
from tests.support.manifests import published_schema_held
from tests.support.models import FAMILIES, TASKS, make_checkpoint

if TYPE_CHECKING:
    from compiler.frontend.export import TracedModel

ROOT = Path(__file__).resolve().parent.parent
THREADS = 2

# Before transformers or huggingface_hub is imported, here or in a process that a test starts.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

# A deadline would measure how busy the machine is.
settings.register_profile("bertc", deadline=None)
settings.load_profile("bertc")


@pytest.fixture(scope="session")
def torch_threads() -> Any:
    """The torch module, kept to two threads."""
    import torch

    torch.set_num_threads(THREADS)
    return torch


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, torch_threads: Any) -> Callable[..., Path]:
    """`checkpoint(family, task, **options)`: the folder of a tiny checkpoint, made once per session.

    Options are those of make_checkpoint. Tests share the folder and must not write into it.
    """
    del torch_threads
    made: dict[str, Path] = {}

    def get(family: str = "bert", task: str = "text-classification", **options: Any) -> Path:
        key = repr((family, task, sorted(options.items())))
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{family}-{task}")
            made[key] = make_checkpoint(folder, family, task, **options)
        return made[key]

    return get


@pytest.fixture(scope="session")
def traced(checkpoint: Callable[..., Path]) -> Callable[..., TracedModel]:
    """`traced(family, task, **options)`: the traced graph of a tiny checkpoint and its torch reference.

    The checkpoint is traced once per session; every call returns its own copy of the graph.
    """
    from compiler.frontend.checkpoint import load_checkpoint
    from compiler.frontend.export import TracedModel, trace

    made: dict[str, TracedModel] = {}

    def get(family: str = "bert", task: str = "text-classification", **options: Any) -> TracedModel:
        key = repr((family, task, sorted(options.items())))
        if key not in made:
            made[key] = trace(load_checkpoint(str(checkpoint(family, task, **options)), task=task))
        known = made[key]
        return TracedModel(known.model.clone(), known.reference)

    return get


@pytest.fixture(scope="session")
def task_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`task_data(task, count=24, seed=0, suffix="jsonl")`: a data file for a task, made once per session."""
    folder = tmp_path_factory.mktemp("data")

    def get(
        task: str = "text-classification", *, count: int = 24, seed: int = 0, suffix: str = "jsonl"
    ) -> Path:
        return write_task_data(folder / str(count), task, count=count, seed=seed, suffix=suffix)

    return get


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    """Every family in turn."""
    name: str = request.param
    return name


@pytest.fixture(params=TASKS)
def task(request: pytest.FixtureRequest) -> str:
    """Every task in turn."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with the fine-tuned checkpoint and its data; a test that asks for it skips without it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data beside the checkout, which is not there")
    return folder


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the user's cache out of the tests, and the tests out of it."""
    monkeypatch.setenv("BERTC_CACHE_DIR", str(tmp_path / "bertc-cache"))


@pytest.fixture(scope="session", autouse=True)
def manifests_as_published() -> Iterator[None]:
    """Every bundle that a test writes, whatever its kind, is one that the published schema describes."""
    with published_schema_held():
        yield
