from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.errors import IntegrityError, UsageError
from targets.runtime.items import TextItem, check_items
from targets.runtime.limits import MAX_CHARACTERS, MAX_TEXTS
from targets.runtime.tokenize import Encoding, TextEncoder
from tests.support.tiny_runtime import byte_encoder, byte_level, encoder, wordpiece, wordpiece_spec

WORD = st.sampled_from(["the", "good", "film", "anna", "playing", "berlin", "?", "zzz", "東京"])
TEXT = st.lists(WORD, max_size=30).map(" ".join)


def one(text_encoder: TextEncoder, item: TextItem, **options: Any) -> Encoding:
    ((encoding,),) = text_encoder.encode([item], **options)
    return encoding


def test_truncation_and_padding_of_the_file_are_switched_off() -> None:
    assert wordpiece().padding is not None
    assert len(one(encoder(), "the film")) == 4
    long = one(encoder(max_length=64), "the " * 40)
    assert len(long) == 42
    assert long.truncated == 0


def test_from_bytes_reads_what_was_saved() -> None:
    read = TextEncoder.from_bytes(wordpiece().to_str().encode(), wordpiece_spec(), True)
    assert read.encode(["the film"]) == encoder().encode(["the film"])
    with pytest.raises(IntegrityError, match="cannot be read"):
        TextEncoder.from_bytes(b"{}", wordpiece_spec(), True)
    with pytest.raises(IntegrityError, match="cannot be read"):
        TextEncoder.from_bytes(b"\xff", wordpiece_spec(), True)


def test_pairs_have_types_and_owners() -> None:
    encoding = one(encoder(), ("the film", "good"))
    assert encoding.type_ids == (0, 0, 0, 0, 1, 1)
    assert encoding.sequence_ids == (None, 0, 0, None, 1, None)
    assert encoding.offsets == ((0, 0), (0, 3), (4, 8), (0, 0), (0, 4), (0, 0))


@pytest.mark.parametrize("make", [encoder, byte_encoder])
def test_offsets_are_characters_of_the_original(make: Any) -> None:
    text = "José was in 東京 😀 !"
    encoding = one(make(max_length=64), text)
    pieces = [
        text[start:end]
        for owner, (start, end) in zip(encoding.sequence_ids, encoding.offsets, strict=True)
        if owner is not None
    ]
    assert "😀" in pieces
    assert "東" in pieces
    if make is byte_encoder:
        assert pieces.count("😀") == len("😀".encode())


def test_long_text_is_cut_and_counted() -> None:
    cut = one(encoder(max_length=8), "the " * 20)
    assert len(cut) == 8
    assert cut.truncated == 22 - 8
    assert cut.ids[0] == 2
    assert cut.ids[-1] == 3


@given(st.lists(st.one_of(TEXT, st.tuples(TEXT, TEXT)), max_size=6), st.integers(6, 20))
def test_truncation_is_that_of_transformers(items: list[TextItem], max_length: int) -> None:
    from transformers import PreTrainedTokenizerFast

    reference = PreTrainedTokenizerFast(tokenizer_object=wordpiece(limits=False), pad_token="[PAD]")
    for item, (encoding,) in zip(items, encoder(max_length).encode(items), strict=True):
        texts = [[item]] if isinstance(item, str) else [[item[0]], [item[1]]]
        expected = reference(
            *texts, truncation="longest_first", max_length=max_length, return_token_type_ids=True
        )
        whole = reference(*texts)
        assert [list(encoding.ids)] == expected["input_ids"]
        assert [list(encoding.type_ids)] == expected["token_type_ids"]
        assert encoding.truncated == len(whole["input_ids"][0]) - len(encoding.ids)


@given(st.lists(WORD, min_size=1, max_size=4).map(" ".join), TEXT, st.integers(0, 3))
def test_windows_are_those_of_transformers(question: str, context: str, stride: int) -> None:
    from transformers import PreTrainedTokenizerFast

    reference = PreTrainedTokenizerFast(tokenizer_object=wordpiece(limits=False), pad_token="[PAD]")
    expected = reference(
        [question],
        [context],
        truncation="only_second",
        max_length=24,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    (windows,) = encoder(max_length=24).encode([(question, context)], windows=True, stride=stride)
    assert [list(window.ids) for window in windows] == expected["input_ids"]
    assert [list(window.offsets) for window in windows] == expected["offset_mapping"]
    assert all(window.truncated == 0 for window in windows)


def test_windows_cover_the_context() -> None:
    context = " ".join(["film"] * 100)
    (windows,) = encoder(max_length=20).encode([("who wrote it ?", context)], windows=True)
    covered = set()
    for window in windows:
        assert len(window) <= 20
        covered |= {
            span for span, owner in zip(window.offsets, window.sequence_ids, strict=True) if owner == 1
        }
    assert covered == {(5 * i, 5 * i + 4) for i in range(100)}


def test_windows_of_a_long_question_keep_half_the_room() -> None:
    question, context = "who " * 50, "film " * 50
    (windows,) = encoder(max_length=21).encode([(question, context)], windows=True)
    assert windows[0].truncated == 50 - 9
    assert [window.truncated for window in windows[1:]] == [0] * (len(windows) - 1)
    for window in windows:
        assert window.sequence_ids.count(0) == 9


def test_windows_need_pairs() -> None:
    with pytest.raises(UsageError, match="question and a context"):
        encoder().encode(["one text"], windows=True)


def test_lone_surrogate_is_named() -> None:
    with pytest.raises(UsageError, match="text 2 holds half of a surrogate pair"):
        encoder().encode(["fine", "a\ud800b"])
    with pytest.raises(UsageError, match="text 1 holds"):
        encoder().encode([("fine", "\udfff")])


def test_no_room_for_text() -> None:
    with pytest.raises(UsageError, match="no room"):
        encoder(max_length=4)


@pytest.mark.parametrize("side", ["right", "left"])
def test_collate_pads_to_the_longest(side: str) -> None:
    text_encoder = encoder(side=side)
    encodings = [windows[0] for windows in text_encoder.encode(["the", ("a", "b film"), ""])]
    feeds = text_encoder.collate(encodings)
    longest = max(map(len, encodings))
    assert set(feeds) == {"input_ids", "attention_mask", "token_type_ids"}
    for row, encoding in enumerate(encodings):
        place = text_encoder.place(len(encoding), longest)
        assert feeds["input_ids"].shape == (3, longest)
        assert feeds["input_ids"].dtype == np.int64
        assert tuple(feeds["input_ids"][row, place]) == encoding.ids
        assert tuple(feeds["token_type_ids"][row, place]) == encoding.type_ids
        assert feeds["attention_mask"][row, place].all()
        assert feeds["attention_mask"][row].sum() == len(encoding)
        assert (feeds["input_ids"][row] == 0).sum() == longest - len(encoding)
    assert feeds["attention_mask"][0, 0] == (1 if side == "right" else 0)


def test_no_type_ids_for_a_model_without() -> None:
    text_encoder = byte_encoder()
    feeds = text_encoder.collate(text_encoder.encode(["ab"])[0])
    assert set(feeds) == {"input_ids", "attention_mask"}
    assert text_encoder.vocab_size == byte_level().get_vocab_size()


def test_items_are_checked() -> None:
    assert check_items([["a", "b"], ("c", "d"), "e"]) == [("a", "b"), ("c", "d"), "e"]  # type: ignore[list-item]
    with pytest.raises(UsageError, match="a single text was given"):
        check_items("a text")
    for bad in (3, None, ("a",), ("a", "b", "c"), ("a", 1), b"bytes"):
        with pytest.raises(UsageError, match="text 2 is neither"):
            check_items(["fine", bad])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="100001 texts"):
        check_items([""] * (MAX_TEXTS + 1))
    with pytest.raises(UsageError, match="text 1 has 1000001 characters"):
        check_items(["x" * (MAX_CHARACTERS + 1)])
