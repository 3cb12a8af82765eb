"""A session's side of an engine, on doubles of TensorRT and CUDA: an interface test, no run of an engine."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from targets.errors import BertcError, IncompatibleError, InternalError, MissingBackendError, UsageError
from targets.runtime.backends import cuda, tensorrt
from targets.runtime.backends.tensorrt import TensorRtBackend
from tests.support.tensorrt_double import CudaDouble, Engine, tensorrt_double

LIMITS = ((1, 4), (2, 8), (3, 16))


def model(feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Four numbers for each text, as many as the least tokens, and a row for each token."""
    kept = (feeds["input_ids"] * feeds["attention_mask"]).astype(np.float32)
    return {
        "logits": kept.sum(axis=1, keepdims=True) * [1.0, 2.0, 3.0, 4.0],
        "last_hidden_state": kept[..., None] + [0, 1],
    }


class Doubled:
    """A backend, and the doubles under it."""

    def __init__(self, patch: pytest.MonkeyPatch, *, loads: bool = True, fails: str = "") -> None:
        self.cuda = CudaDouble(fails)
        engine = Engine(model, LIMITS) if loads else None
        patch.setattr(tensorrt, "load_tensorrt", lambda _: tensorrt_double(engine))
        patch.setattr(tensorrt, "load_cuda", lambda: self.cuda)
        self.backend = TensorRtBackend(b"engine", "tensorrt")


def feeds_of(rows: int, length: int, seed: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 2, (rows, length))
    return {"input_ids": rng.integers(1, 100, (rows, length)), "attention_mask": mask}


@given(st.integers(1, 8), st.integers(1, 16), st.integers(0, 99))
def test_outputs_row_for_row_however_they_are_split_and_padded(rows: int, length: int, seed: int) -> None:
    feeds = feeds_of(rows, length, seed)
    with pytest.MonkeyPatch.context() as patch:
        found = Doubled(patch).backend.run(feeds)
    for name, wanted in model(feeds).items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], wanted.astype(np.float32))


def test_what_the_engine_says_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Doubled(monkeypatch).backend
    assert (backend.name, backend.version) == ("tensorrt", "10.13.3")
    assert backend.input_names == ("input_ids", "attention_mask")
    assert backend.output_names == ("logits", "last_hidden_state")


def test_only_the_outputs_asked_for_are_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    doubled = Doubled(monkeypatch)
    doubled.cuda.calls.clear()
    assert list(doubled.backend.run(feeds_of(2, 8, 0), ["logits"])) == ["logits"]
    assert doubled.cuda.calls == ["cudaMemcpyAsync"] * 3 + ["cudaStreamSynchronize"]
    assert not doubled.cuda.pending


def test_arrays_are_the_callers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Doubled(monkeypatch).backend
    first = backend.run(feeds_of(2, 8, 0))
    kept = first["logits"].copy()
    backend.run(feeds_of(2, 8, 1))
    np.testing.assert_array_equal(first["logits"], kept)


def test_threads_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """All runs share the engine's memory; closing waits for the one that is being made."""
    backend = Doubled(monkeypatch).backend
    begin, wrong, ends = threading.Barrier(6), [], []

    def work(number: int) -> None:
        feeds = feeds_of(1 + number % 3, 4 + number, number)
        expected = model(feeds)["logits"].astype(np.float32)
        begin.wait(30)
        try:
            while True:
                if not np.array_equal(backend.run(feeds, ["logits"])["logits"], expected):
                    wrong.append(number)
        except UsageError as error:
            ends.append(str(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
    for thread in threads:
        thread.start()
    begin.wait(30)
    time.sleep(0.2)
    backend.close()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert ends == ["the session is closed"] * 5


def test_too_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = Doubled(monkeypatch).backend
    with pytest.raises(UsageError, match="17 tokens in a row") as caught:
        backend.run(feeds_of(1, 17, 0))
    assert "at most 16" in caught.value.hint


def test_everything_is_freed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    doubled = Doubled(monkeypatch)
    assert len(doubled.cuda.memory) == 8
    doubled.backend.close()
    doubled.backend.close()
    assert doubled.cuda.memory == {}
    assert doubled.cuda.calls.count("cudaStreamDestroy") == 1
    with pytest.raises(UsageError, match="closed"):
        doubled.backend.run(feeds_of(1, 4, 0))


def test_an_engine_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IncompatibleError, match=r"tensorrt 10\.13\.3 cannot load the engine"):
        Doubled(monkeypatch, loads=False)


@pytest.mark.parametrize(
    ("fails", "kind", "message"),
    [
        ("cudaStreamCreate", IncompatibleError, "cudaErrorNoDevice"),
        ("cudaMalloc", InternalError, "cudaMalloc failed: cudaErrorMemoryAllocation"),
    ],
)
def test_cuda_fails(
    monkeypatch: pytest.MonkeyPatch, fails: str, kind: type[BertcError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        Doubled(monkeypatch, fails=fails)
    assert caught.value.hint


def test_without_cuda_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_MODULES", ("no_such_module.cudart",))
    with pytest.raises(MissingBackendError, match="cuda-python"):
        cuda.load_cuda()
