from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.errors import UsageError
from targets.runtime.inference import Inference, Window
from targets.runtime.tasks import Answer, FillMask
from targets.runtime.tasks import fill_mask as fill_mask_task
from targets.runtime.tasks.question_answering import decode
from targets.runtime.tasks.scores import softmax
from targets.runtime.tokenize import Encoding
from tests.support.tiny_runtime import RUNTIMES, byte_encoder, encoder, session, table

QUESTION = "who wrote it ?"


def inference(question: str, context: str, starts: list[float], ends: list[float]) -> Inference:
    """Logits for the context's tokens; the question and special tokens have the highest of all."""
    ((encoding,),) = encoder(max_length=512).encode([(question, context)], windows=True)
    places = [index for index, owner in enumerate(encoding.sequence_ids) if owner == 1]
    start, end = np.full((2, len(encoding)), 50, dtype=np.float32)
    start[places], end[places] = starts[: len(places)], ends[: len(places)]
    return Inference((question, context), (Window(encoding, {"start_logits": start, "end_logits": end}),))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_answer_of_a_model(runtime: str) -> None:
    values = table(2, {"maria": [9, 0], "silva": [0, 9], "who": [30, 30], "[CLS]": [40, 40]})
    far = "the film was good . " * 20 + "Maria Silva was in Berlin ." + " the film was bad ." * 20
    with session(runtime, "question-answering", values, max_length=32) as opened:
        near_answer, far_answer, empty = opened(
            [(QUESTION, "It was Maria Silva !"), (QUESTION, far), (QUESTION, "")]
        )
        assert opened.truncated == 0
    assert isinstance(near_answer, Answer)
    assert isinstance(far_answer, Answer)
    assert near_answer.answer == far_answer.answer == "Maria Silva"
    assert (near_answer.start, near_answer.end) == (7, 18)
    assert far[far_answer.start : far_answer.end] == "Maria Silva"
    assert 0.9 < far_answer.score <= near_answer.score <= 1
    assert empty == Answer("", 0.0, 0, 0)
    assert set(near_answer.to_dict()) == {"answer", "score", "start", "end"}


def test_the_end_is_not_before_the_start() -> None:
    found = decode(inference(QUESTION, "anna was in berlin", [0, 0, 0, 9], [8, 0, 0, 1]))
    assert found.answer == "berlin"
    found = decode(inference(QUESTION, "anna was in berlin", [0, 0, 0, 3], [8, 0, 0, 1]))
    assert found.answer == "anna"


def test_the_longest_answer() -> None:
    context = " ".join(["film"] * 40)
    starts, ends = [9.0, *[0.0] * 39], [*[0.0] * 35, 9.0, *[0.0] * 4]
    found = decode(inference(QUESTION, context, starts, ends))
    assert found.end - found.start < 35 * 5
    whole = decode(inference(QUESTION, context, starts, ends), max_tokens=36)
    assert (whole.start, whole.end) == (0, 36 * 5 - 1)


LOGITS = st.lists(st.floats(-20, 20, width=32), min_size=6, max_size=6)


@given(LOGITS, LOGITS, st.integers(1, 7))
def test_the_best_span_is_the_best(starts: list[float], ends: list[float], max_tokens: int) -> None:
    context = "anna was in the new film"
    found = decode(inference(QUESTION, context, starts, ends), max_tokens=max_tokens)
    words = context.split()
    best = max(
        (np.float32(starts[i]).astype(float) + np.float32(ends[j]).astype(float), -i, -j)
        for i in range(6)
        for j in range(i, min(6, i + max_tokens))
    )
    first, last = -best[1], -best[2]
    chance = softmax(np.array(starts, np.float32))[first] * softmax(np.array(ends, np.float32))[last]
    assert found.score == pytest.approx(chance, rel=1e-6)
    assert found.answer in context
    if found.answer != " ".join(words[first : last + 1]):
        i = context[: found.start].count(" ")
        j = i + found.answer.count(" ")
        assert starts[i] + ends[j] == pytest.approx(best[0])


def test_spaces_are_stripped_from_an_answer() -> None:
    encoding = Encoding((1, 2, 3), (0, 0, 0), ((0, 0), (0, 1), (1, 6)), (None, 0, 1))
    outputs = {"start_logits": np.zeros(3, np.float32), "end_logits": np.zeros(3, np.float32)}
    found = decode(Inference(("q", "a  b  c"), (Window(encoding, outputs),)))
    assert found == Answer("b", 1.0, 3, 4)


def vocabulary(**scores: float) -> np.ndarray:
    vocab = encoder()
    rows = np.zeros((vocab.vocab_size, vocab.vocab_size), dtype=np.float32)
    ((encoding,),) = vocab.encode([" ".join(scores)])
    rows[vocab.spec.mask_token_id, list(encoding.ids[1:-1])] = list(scores.values())
    return rows


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_fill_mask(runtime: str) -> None:
    values = vocabulary(good=9.0, bad=7.0, film=5.0)
    with session(runtime, "fill-mask", values, type_ids=False) as opened:
        one, two = opened.predict(["The  [MASK] film!", "[MASK] [MASK]"], top_k=2)
        with pytest.raises(UsageError, match=r"no \[MASK\] of the text|there is no \[MASK\]"):
            opened.predict(["no mask"])
        with pytest.raises(UsageError, match="in the first 64 tokens"):
            opened.predict(["the " * 70 + "[MASK]"])
        (all_of_them,) = opened.predict(["[MASK]"], top_k=1000)
    assert isinstance(one, FillMask)
    assert isinstance(two, FillMask)
    assert isinstance(all_of_them, FillMask)
    (candidates,) = one.candidates
    assert [item.token for item in candidates] == ["good", "bad"]
    assert [item.sequence for item in candidates] == ["The  good film!", "The  bad film!"]
    assert candidates[0].score == pytest.approx(float(softmax(values[4])[candidates[0].token_id]), abs=1e-6)
    assert [mask[0].sequence for mask in two.candidates] == ["good [MASK]", "[MASK] good"]
    assert len(all_of_them.candidates[0]) == encoder().vocab_size
    assert one.to_dict()["candidates"][0][1]["token"] == "bad"


def test_a_mask_that_takes_the_space_before_it() -> None:
    text_encoder = byte_encoder()
    ((encoding,),) = text_encoder.encode(["Paris is <mask> !"])
    logits = np.zeros((len(encoding), text_encoder.vocab_size), dtype=np.float32)
    letter = text_encoder.encode(["x"])[0][0].ids[1]
    logits[:, letter] = 9
    found = fill_mask_task.decode(
        Inference("Paris is <mask> !", (Window(encoding, {"logits": logits}),)), text_encoder, top_k=1
    )
    assert found.candidates[0][0].sequence == "Paris is x !"
    assert found.candidates[0][0].token == "x"


def test_the_mask_of_a_pair() -> None:
    text_encoder = encoder()
    ((encoding,),) = text_encoder.encode([("who", "the [MASK]")])
    logits = np.zeros((len(encoding), text_encoder.vocab_size), dtype=np.float32)
    logits[:, 8] = 9
    found = fill_mask_task.decode(
        Inference(("who", "the [MASK]"), (Window(encoding, {"logits": logits}),)), text_encoder, top_k=1
    )
    assert found.candidates[0][0].sequence == f"the {text_encoder.text_of(8)}"
