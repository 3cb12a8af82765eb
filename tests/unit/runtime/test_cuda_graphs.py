"""Runs as CUDA graphs, on doubles of TensorRT and CUDA: an interface test, no run of an engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from targets.errors import UsageError
from targets.runtime.backends import tensorrt
from targets.runtime.backends.base import Shaped
from targets.runtime.backends.tensorrt import TensorRtBackend
from targets.runtime.settings import ShapePolicy
from tests.support.tensorrt_double import CudaDouble, Engine, tensorrt_double
from tests.unit.runtime.test_tensorrt_backend import LIMITS, feeds_of, model


class Doubled:
    """A backend with graphs of some lengths, and the doubles under it."""

    def __init__(
        self, patch: pytest.MonkeyPatch, policy: ShapePolicy, fails: str = "", runtime: str = "tensorrt"
    ) -> None:
        self.cuda, self.engine = CudaDouble(fails), Engine(model, LIMITS)
        patch.setattr(tensorrt, "load_tensorrt", lambda _: tensorrt_double(self.engine))
        patch.setattr(tensorrt, "load_cuda", lambda: self.cuda)
        self.backend = TensorRtBackend(b"engine", runtime, policy)

    def check(self, rows: int, length: int, seed: int) -> list[str]:
        """The calls of one run, whose outputs are compared with the model's."""
        self.cuda.calls.clear()
        feeds = feeds_of(rows, length, seed)
        found = self.backend.run(feeds)
        for name, wanted in model(feeds).items():
            np.testing.assert_array_equal(found[name], wanted.astype(np.float32))
        return list(self.cuda.calls)


@pytest.fixture
def doubled(monkeypatch: pytest.MonkeyPatch) -> Doubled:
    return Doubled(monkeypatch, ShapePolicy((2, 8, 12, 64)))


def test_a_length_asked_for_twice_is_captured_and_then_launched(doubled: Doubled) -> None:
    assert "cudaGraphLaunch" not in doubled.check(1, 8, 0)
    second = doubled.check(1, 8, 1)
    captured = ["StreamBeginCapture", "StreamEndCapture", "GraphInstantiate", "GraphDestroy", "GraphLaunch"]
    assert [each for each in second if "Graph" in each or "Capture" in each] == [
        f"cuda{each}" for each in captured
    ]
    third = doubled.check(1, 8, 2)
    assert third == [*["cudaMemcpyAsync"] * 2, "cudaGraphLaunch", *["cudaMemcpyAsync"] * 2, third[-1]]
    assert list(doubled.backend.shapes) == [8]
    assert len(doubled.engine.contexts) == 2, "a graph has a context of its own"


def test_other_shapes_between_leave_a_graph_right(doubled: Doubled) -> None:
    doubled.backend.prepare([8, 12])
    for seed, (rows, length) in enumerate([(1, 8), (3, 8), (1, 12), (1, 5), (2, 12), (1, 8), (1, 12)]):
        launched = "cudaGraphLaunch" in doubled.check(rows, length, seed)
        assert launched == (rows == 1 and length in {8, 12})


def test_what_single_texts_are_padded_to(doubled: Doubled) -> None:
    assert isinstance(doubled.backend, Shaped)
    asked = [(1, 3), (1, 8), (1, 9), (1, 13), (2, 9)]
    assert [doubled.backend.padded(*each) for each in asked] == [8, 8, 12, 16, 9], (
        "2 is below the engine's least"
    )


def test_ahead_and_no_more_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = Doubled(monkeypatch, ShapePolicy((4, 8, 16), "ahead"))
    assert list(ahead.backend.shapes) == [4, 8, 16]
    few = Doubled(monkeypatch, ShapePolicy((4, 8, 16), "ahead", kept=2))
    assert list(few.backend.shapes) == [4, 8]
    small = Doubled(monkeypatch, ShapePolicy((4, 8, 16), "ahead", memory_mb=5))
    assert list(small.backend.shapes) == [4], "a context takes 3 MiB"


def test_an_engine_that_cannot_be_captured_runs_without(monkeypatch: pytest.MonkeyPatch) -> None:
    doubled = Doubled(monkeypatch, ShapePolicy((8,)), fails="cudaStreamEndCapture")
    tried = [doubled.check(1, 8, seed).count("cudaStreamBeginCapture") for seed in range(4)]
    assert tried == [0, 1, 0, 0]
    assert not doubled.backend.shapes


def test_graphs_are_freed(doubled: Doubled) -> None:
    doubled.backend.prepare([8])
    doubled.backend.close()
    assert not doubled.cuda.ready
    assert not doubled.cuda.memory
    with pytest.raises(UsageError, match="closed"):
        doubled.backend.prepare([8])


def test_tensorrt_rtx_captures_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    doubled = Doubled(monkeypatch, ShapePolicy((8,)), runtime="tensorrt-rtx")
    calls: list[Any] = [doubled.check(1, 8, seed) for seed in range(3)]
    assert not any("Capture" in name for run in calls for name in run)
    (config,) = doubled.engine.contexts
    assert config.cuda_graph_strategy == "WHOLE"
    assert doubled.backend.padded(1, 5) == 8


def test_without_the_option_nothing_is_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Engine = Engine(model, LIMITS)
    monkeypatch.setattr(tensorrt, "load_tensorrt", lambda _: tensorrt_double(engine))
    monkeypatch.setattr(tensorrt, "load_cuda", CudaDouble)
    backend = TensorRtBackend(b"engine", "tensorrt")
    ids: NDArray[Any] = np.ones((1, 5), np.int64)
    assert backend.padded(*ids.shape) == 5
    assert (backend.prepare([5]), backend.shapes) == ({}, {})
