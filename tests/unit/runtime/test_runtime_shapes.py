"""Models of one shape beside the one of dynamic shape."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from targets.errors import UsageError
from targets.runtime.backends import open_backend
from targets.runtime.backends.base import Shaped
from targets.runtime.settings import DYNAMIC, RunSettings, ShapePolicy
from tests.support.tiny_runtime import RUNTIMES, model_files, onnx_model, session, table

VALUES = table(3)
TOKENS = onnx_model("token-classification", VALUES)


def opened(policy: ShapePolicy, **options: Any) -> Any:
    files = model_files("openvino", TOKENS).values()
    return open_backend("openvino", *files, threads=1, shapes=policy, **options)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "nothing was compiled in 30 seconds"
        time.sleep(0.01)


def feeds(batch: int, length: int) -> dict[str, np.ndarray]:
    ids = np.random.default_rng(length).integers(0, len(VALUES), size=(batch, length))
    return {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "token_type_ids": np.zeros_like(ids),
    }


def test_a_length_is_compiled_when_it_is_asked_for_again() -> None:
    backend = opened(ShapePolicy((4, 8)))
    assert isinstance(backend, Shaped)
    assert backend.padded(1, 3) == 3
    time.sleep(0.05)
    assert backend.shapes == {}
    assert backend.padded(1, 4) == 4
    wait_for(lambda: 4 in backend.shapes)
    assert backend.padded(1, 3) == 4
    assert backend.padded(2, 3) == 3
    assert backend.padded(1, 9) == 9
    assert backend.shapes[4] > 0
    backend.close()


def test_ahead_compiles_all_and_answers_alike() -> None:
    backend, dynamic = opened(ShapePolicy((2, 4, 8), when="ahead")), opened(DYNAMIC)
    assert list(backend.shapes) == [2, 4, 8]
    assert dynamic.shapes == {}
    for length in (2, 4, 8, 3):
        own = feeds(1, length)
        expected = dynamic.run(own)["logits"]
        np.testing.assert_array_equal(backend.run(own)["logits"], expected)
        first = backend.run(own)["logits"]
        backend.run(feeds(1, length) | {"input_ids": np.zeros((1, length), np.int64)})
        np.testing.assert_array_equal(first, expected)
    backend.close()
    with pytest.raises(UsageError, match="session is closed"):
        backend.run(feeds(1, 2))


def test_the_length_asked_for_least_makes_room() -> None:
    backend = opened(ShapePolicy((1, 2, 3), kept=2))
    assert list(backend.prepare([1, 2, 3])) == [1, 2]
    for _ in range(5):
        assert backend.padded(1, 2) == 2
    for _ in range(3):
        backend.padded(1, 3)
    wait_for(lambda: 3 in backend.shapes)
    assert list(backend.shapes) == [2, 3]
    assert list(backend.prepare([1])) == [1]
    assert len(backend.shapes) == 2
    backend.close()


def test_memory_bounds_how_many_are_kept() -> None:
    backend = opened(ShapePolicy((1, 2), memory_mb=0))
    assert backend.prepare([1, 2]) == {}
    for _ in range(3):
        assert backend.padded(1, 1) == 1
    assert backend.shapes == {}
    backend.close()


def test_closing_while_a_length_is_compiled() -> None:
    backend = opened(ShapePolicy((4,)))
    backend.padded(1, 4)
    backend.padded(1, 4)
    backend.close()
    for thread in threading.enumerate():
        if thread.name == "bertc-shapes":
            thread.join(30)
    assert backend.shapes == {}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("task", ["token-classification", "text-classification"])
def test_sessions_pad_to_the_shape_and_cut_the_answer(task: str, side: str) -> None:
    values = table(2)
    ahead = RunSettings(threads=1, shapes=ShapePolicy((16,), when="ahead"))
    texts = ["a good film", "bad", "the film was good in berlin"]
    with (
        session("openvino", task, values, side=side, settings=ahead) as shaped,
        session("openvino", task, values, side=side) as plain,
    ):
        assert list(shaped.shapes) == [16]
        assert list(shaped.prepare([3, 16])) == [16]
        for text in texts:
            (own,), (expected,) = shaped.infer([text]), plain.infer([text])
            np.testing.assert_allclose(
                own.windows[0].outputs["logits"], expected.windows[0].outputs["logits"], atol=1e-6
            )
        ids = {"input_ids": np.array([[2, 7, 9, 3]])}
        found, wanted = shaped.run(ids)["logits"], plain.run(ids)["logits"]
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_onnxruntime_has_no_shapes_to_prepare() -> None:
    with session("onnxruntime", "text-classification", VALUES, settings=RunSettings(threads=1)) as one:
        assert one.prepare([8]) == {}
        assert one.shapes == {}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_streams_answer_alike_and_in_order(runtime: str) -> None:
    texts = ["good film " * (number % 7) + "bad" for number in range(200)]
    several = RunSettings(threads=2, streams=2, max_tokens=64)
    with (
        session(runtime, "text-classification", VALUES, settings=several) as side_by_side,
        session(runtime, "text-classification", VALUES) as one,
    ):
        own, expected = side_by_side.infer(texts), one.infer(texts)
        assert [each.item for each in own] == texts
        for a, b in zip(own, expected, strict=True):
            np.testing.assert_allclose(
                a.windows[0].outputs["logits"], b.windows[0].outputs["logits"], atol=1e-6
            )


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_session_may_be_used_by_many_threads(runtime: str) -> None:
    lazy = RunSettings(threads=1, streams=1, shapes=ShapePolicy((4, 8, 16)))
    found: dict[int, list[Any]] = {}
    with session(runtime, "text-classification", VALUES, settings=lazy) as shared:

        def work(number: int) -> None:
            own = [shared.infer([("good " * (number + turn % 5)).strip()])[0] for turn in range(30)]
            found[number] = [each.windows[0].outputs["logits"] for each in own]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, outputs in found.items():
            for turn, output in enumerate(outputs):
                (expected,) = shared.infer([("good " * (number + turn % 5)).strip()])
                np.testing.assert_allclose(output, expected.windows[0].outputs["logits"], atol=1e-6)
    assert len(found) == 8


def test_policies_that_make_no_sense() -> None:
    assert ShapePolicy((8, 16, 32)).within(20).lengths == (8, 16, 20)
    assert ShapePolicy((8, 16)).within(512).lengths == (8, 16)
    assert ShapePolicy((8, 16)).padded(9) == 16
    assert ShapePolicy((8, 16)).padded(17) is None
    for bad in ({"lengths": (8, 8)}, {"lengths": (0,)}, {"kept": 0}, {"memory_mb": -1}):
        with pytest.raises(UsageError):
            ShapePolicy(**bad)
    for worse in ({"threads": -1}, {"streams": 0}, {"max_batch": 0}, {"max_tokens": 0}, {"run_tokens": -1}):
        with pytest.raises(UsageError):
            RunSettings(**worse)
