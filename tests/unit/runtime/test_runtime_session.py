from __future__ import annotations

import random
from functools import partial
from typing import Any

import numpy as np
import pytest

from targets.bundle.schema import TaskConfig
from targets.errors import IntegrityError, UnsupportedError, UsageError
from targets.runtime import session as session_module
from targets.runtime.backends import open_backend
from targets.runtime.items import TextItem, chunks
from targets.runtime.session import Session
from targets.runtime.tasks import Classification
from tests.support.tiny_runtime import RUNTIMES, WORDS, encoder, onnx_model, session, table


def mixed(count: int, seed: int = 0) -> list[TextItem]:
    rng = random.Random(seed)
    items: list[TextItem] = []
    for _ in range(count):
        first = " ".join(rng.choices(WORDS[:14], k=rng.randint(0, 40)))
        second = " ".join(rng.choices(WORDS[:14], k=rng.randint(1, 10)))
        items.append((first, second) if rng.random() < 0.3 else first)
    return items


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("batch_size", [None, 1, 7])
def test_order_and_values_do_not_depend_on_the_batch(runtime: str, side: str, batch_size: int | None) -> None:
    values = table(3)
    items = mixed(60)
    with session(runtime, "text-classification", values, side=side, batch_size=batch_size) as opened:
        found = opened.infer(items)
        assert [inference.item for inference in found] == items
        for inference in found:
            (window,) = inference.windows
            rows = values[list(window.encoding.ids)] + np.array(window.encoding.type_ids)[:, None]
            np.testing.assert_allclose(window.outputs["logits"], rows.mean(axis=0), atol=1e-5)
        assert opened.truncated == sum(inference.windows[0].encoding.truncated > 0 for inference in found)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_outputs_per_token_lose_their_padding(runtime: str, side: str) -> None:
    values = table(2)
    items = [item for item in mixed(40) if isinstance(item, str)]
    with session(runtime, "token-classification", values, side=side, type_ids=False) as opened:
        for inference in opened.infer(items):
            window = inference.windows[0]
            np.testing.assert_array_equal(window.outputs["logits"], values[list(window.encoding.ids)])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_windows_come_together(runtime: str) -> None:
    values = table(2)
    items = [("who wrote it ?", " ".join(["film"] * n)) for n in (3, 200, 0, 60)]
    with session(runtime, "question-answering", values, max_length=24) as opened:
        found = opened.infer(items)
        assert [len(inference.windows) for inference in found] == [1, 22, 1, 6]
        for inference in found:
            for window in inference.windows:
                rows = values[list(window.encoding.ids)] + np.array(window.encoding.type_ids)[:, None]
                np.testing.assert_allclose(window.outputs["start_logits"], rows[:, 0], atol=1e-6)
                np.testing.assert_allclose(window.outputs["end_logits"], rows[:, 1], atol=1e-6)
        assert opened.truncated == 0


def test_more_texts_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "chunks", partial(chunks, texts=16, characters=400))
    items = mixed(70)
    calls: list[tuple[int, int]] = []
    with session("onnxruntime", "text-classification", table(3)) as opened:
        whole = opened.predict(items, progress=lambda done, total: calls.append((done, total)))
        singly = [opened.predict([item])[0] for item in items]
    for one, other in zip(whole, singly, strict=True):
        assert isinstance(one, Classification)
        assert isinstance(other, Classification)
        assert one.score == pytest.approx(other.score, abs=1e-6)
    assert calls[-1] == (70, 70)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_empty_inputs() -> None:
    with session("onnxruntime", "text-classification", table(3)) as opened:
        assert opened.predict([]) == []
        assert opened.infer([]) == []
        assert len(opened.predict(["", ("", "")])) == 2


def test_truncated_texts_are_counted() -> None:
    with session("onnxruntime", "text-classification", table(3), max_length=10) as opened:
        opened(["the " * 30, "the", ("a " * 20, "b")])
        assert opened.truncated == 2
        assert opened.truncated_tokens == 32 - 10 + 24 - 10
        opened(["the " * 9])
        assert opened.truncated == 3


def test_timings_and_closing() -> None:
    opened = session("onnxruntime", "text-classification", table(3))
    assert opened.timings.first_run_s is None
    opened.predict(["the film"])
    first = opened.timings.first_run_s
    assert first is not None
    assert first > 0
    opened.predict(["the film"])
    assert opened.timings.first_run_s == first
    opened.close()
    with pytest.raises(UsageError, match="closed"):
        opened.predict(["the film"])


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_run_fills_in_what_may_be_left_out(runtime: str) -> None:
    values = table(3)
    ids = np.array([[2, 5, 6, 3]], dtype=np.int32)
    with session(runtime, "feature-extraction", values) as opened:
        everything = opened.run({"input_ids": ids})
        np.testing.assert_allclose(everything["last_hidden_state"], values[ids])
        np.testing.assert_allclose(everything["sentence_embedding"], values[ids].mean(axis=1), atol=1e-6)
        mask = np.array([[1, 1, 0, 0]])
        some = opened.run({"input_ids": ids, "attention_mask": mask}, ["sentence_embedding"])
        assert list(some) == ["sentence_embedding"]
        expected = values[ids][:, :2].mean(axis=1)
        np.testing.assert_allclose(some["sentence_embedding"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("feeds", "problem"),
    [
        ({}, "input_ids are missing"),
        ({"ids": np.ones((1, 1), int)}, "no input 'ids'"),
        ({"input_ids": np.ones((1, 2))}, "of type float64"),
        ({"input_ids": np.ones(3, int)}, r"shape \[3\]"),
        ({"input_ids": np.ones((0, 3), int)}, "neither empty|shape"),
        ({"input_ids": np.ones((1, 65), int)}, "65 tokens"),
        ({"input_ids": -np.ones((1, 5), int)}, "negative"),
        ({"input_ids": np.ones((1, 5), int), "attention_mask": np.ones((1, 4), int)}, "attention_mask has"),
    ],
)
def test_bad_feeds(feeds: dict[str, Any], problem: str) -> None:
    with (
        session("onnxruntime", "text-classification", table(3)) as opened,
        pytest.raises(UsageError, match=problem),
    ):
        opened.run(feeds)


def test_bad_calls() -> None:
    with session("onnxruntime", "text-classification", table(3)) as opened:
        with pytest.raises(UsageError, match="no output 'pooled'"):
            opened.run({"input_ids": np.ones((1, 2), int)}, ["pooled"])
        with pytest.raises(UsageError, match="single text"):
            opened.predict("one text")
        with pytest.raises(UsageError, match="top_k"):
            opened.predict(["a"], top_k=0)
        with pytest.raises(UsageError, match="threshold"):
            opened.predict(["a"], threshold=2)
    with pytest.raises(UsageError, match="batch size"):
        session("onnxruntime", "text-classification", table(3), batch_size=0)


def test_texts_must_fit_the_task() -> None:
    with (
        session("onnxruntime", "question-answering", table(2)) as opened,
        pytest.raises(UsageError, match="text 2 is a single text"),
    ):
        opened.predict([("who", "anna"), "alone"])
    with (
        session("onnxruntime", "token-classification", table(2)) as opened,
        pytest.raises(UsageError, match="text 1 is a pair"),
    ):
        opened.predict([("who", "anna")])


def test_the_model_must_fit_the_task() -> None:
    backend = open_backend("onnxruntime", onnx_model("text-classification", table(3)), threads=1)
    with pytest.raises(UnsupportedError, match="no output 'start_logits'"):
        Session(backend, encoder(), "question-answering", TaskConfig())
    with pytest.raises(UnsupportedError, match="no task 'translation'"):
        Session(backend, encoder(), "translation", TaskConfig())
    with pytest.raises(IntegrityError, match="3 outputs and 2 label names"):
        Session(backend, encoder(), "text-classification", TaskConfig(None, ("one", "two")))
