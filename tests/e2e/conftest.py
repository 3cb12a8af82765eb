"""Bundles that the end-to-end tests share, each compiled once in a session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.compiling import (
    Built,
    Bundles,
    Checkpoints,
    Data,
    build,
    export_onnx,
    own_caches,
    require_target,
    traced_once,
)

POOLED = {"pooling": "mean", "dense": 16, "normalize": True}


@pytest.fixture(scope="session")
def bundles(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Checkpoints, task_data: Data
) -> Iterator[Bundles]:
    """`bundles(family, task, runtime)`: a static INT8 bundle. Tests share it and must not write into it."""
    require_target()
    made: dict[tuple[str, str, str], Built] = {}
    folder = tmp_path_factory.mktemp("bundles")

    def get(family: str, task: str, runtime: str) -> Built:
        key = (family, task, runtime)
        if key not in made:
            pooled = POOLED if (family, task) == ("minilm", "feature-extraction") else {}
            data = task_data(task)
            made[key] = build(
                checkpoint(family, task, **pooled),
                folder / runtime,
                name=f"{family}-{task}",
                runtime=runtime,
                calibration_data=data,
                eval_data=data,
            )
        return made[key]

    with traced_once(), own_caches(folder / "cache"):
        yield get


@pytest.fixture(scope="session")
def onnx_model(tmp_path_factory: pytest.TempPathFactory, checkpoint: Checkpoints) -> Path:
    """A BERT classifier as an .onnx file: the model of the tests that need no tracing."""
    require_target()
    return export_onnx(checkpoint(layers=1), tmp_path_factory.mktemp("exported") / "tiny")


@pytest.fixture(scope="session")
def data(task_data: Data) -> Path:
    """24 labelled texts."""
    return task_data()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder for bundles that is not there yet."""
    return tmp_path / "out"
