"""Texts of any length and any characters through the tokenizers of every family."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers

from targets.errors import FailedRunError, IntegrityError, UnsupportedError, UsageError
from targets.runtime import pieces
from targets.runtime import tokenize as tokenize_module
from targets.runtime.frame import frame_of, longest_first, window_spans
from targets.runtime.limits import MAX_CHARACTERS, PIECE_CHARACTERS
from targets.runtime.pieces import tokenize
from targets.runtime.tokenize import TextEncoder
from tests.support.corpus import sentences
from tests.support.tiny_runtime import byte_level, encoder, wordpiece, wordpiece_spec
from tests.support.tokenizers import make_tokenizer

KINDS = ("wordpiece", "bpe", "unigram", "sentencepiece")  # the last as XLM-RoBERTa is published
ODD = (
    *("", " ", "\n\r\t", "\0", "\x1b[31mred\x07", "\ufeffbom", "a\u2028b\u2029c", "\u202eevil\u202c"),
    *("👩\u200d👩\u200d👧", "e\u0301\u0323", "\u0301\u0301", "\u200b\u200d", "שלום עולם", "ﷺ", "\U0010ffff"),
    *("[SEP]", "<mask>", "</s>", "[CLS] [MASK]", "'s don't", "东京タワー", "¾ ² ﬁ", "\ue000", "a\rb"),
)
TEXTS = st.lists(st.sampled_from([*ODD, *sentences(20, seed=5)]), max_size=8).map(" ".join) | st.text(
    st.characters(codec="utf-8"), max_size=60
)


def plain(kind: str) -> Tokenizer:
    made = make_tokenizer("unigram" if kind == "sentencepiece" else kind)  # type: ignore[arg-type]
    if kind == "sentencepiece":
        spaces = normalizers.Replace(Regex(" {2,}"), " ")
        made.normalizer = normalizers.Sequence([normalizers.NFKC(), spaces])
        made.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    made.no_truncation()
    made.no_padding()
    return made


def text_encoder(kind: str, max_length: int = 64) -> TextEncoder:
    return TextEncoder(plain(kind), wordpiece_spec(max_length), True)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30)
@given(TEXTS, TEXTS, st.integers(7, 40))
def test_texts_and_pairs_are_cut_as_the_tokenizer_cuts_them(
    kind: str, first: str, second: str, max_length: int
) -> None:
    own, reference = text_encoder(kind, max_length), plain(kind)
    whole = [len(reference.encode(first)), len(reference.encode(first, second))]
    reference.enable_truncation(max_length)
    expected = [reference.encode(first), reference.encode(first, second)]
    for (found,), wanted, count in zip(own.encode([first, (first, second)]), expected, whole, strict=True):
        assert found.ids == tuple(wanted.ids)
        assert found.type_ids == tuple(wanted.type_ids)
        assert found.offsets == tuple(wanted.offsets)
        assert found.sequence_ids == tuple(wanted.sequence_ids)
        assert found.truncated == count - len(wanted)
        assert all(0 <= start <= end <= max(len(first), len(second)) for start, end in found.offsets)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(TEXTS, st.integers(0, 9))
def test_windows_are_those_of_the_tokenizer(kind: str, context: str, stride: int) -> None:
    reference = plain(kind)
    question = "who is it ?"
    asked = len(reference.encode(question, add_special_tokens=False))
    max_length = asked + 24
    own = text_encoder(kind, max_length).encode([(question, context)], windows=True, stride=stride)
    reference.enable_truncation(max_length, stride=stride, strategy="only_second")
    first = reference.encode(question, context)
    assert [window.ids for window in own[0]] == [tuple(each.ids) for each in (first, *first.overflowing)]
    assert [window.offsets for window in own[0]] == [
        tuple(each.offsets) for each in (first, *first.overflowing)
    ]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(2, 60))
def test_the_longer_text_is_cut_first(first: int, second: int, room: int) -> None:
    one, two = longest_first(first, second, room)
    assert (one, two) == (first, second) if first + second <= room else one + two == room
    assert one <= first
    assert two <= second
    assert one == first or one >= two - 1
    assert two == second or two >= one - 1


@given(st.integers(0, 300), st.integers(2, 30), st.data())
def test_windows_cover_everything_once_more_than_they_share(
    count: int, room: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, room // 2))
    spans = window_spans(count, room, overlap)
    assert spans[0][0] == 0
    assert spans[-1][1] == count
    assert all(end - start <= room for start, end in spans)
    assert all(before[1] - after[0] == overlap for before, after in pairwise(spans))


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_of_a_text_are_the_whole_text(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [" ".join(sentences(30, seed=seed)) for seed in range(3)]
    texts += ["", "  two   spaces,\n a line ", "東京 は 大きい 。 " * 20, "<mask> [MASK] " * 30]
    whole = tokenize(plain(kind), texts, 10_000)
    for characters in (64, 200, 1000):
        monkeypatch.setattr(pieces, "PIECE_CHARACTERS", characters)
        assert tokenize(plain(kind), texts, 10_000) == whole
        cut = tokenize(plain(kind), texts, 20)
        assert [(each.ids, each.offsets, each.count) for each in cut] == [
            (each.ids[:20], each.offsets[:20], each.count) for each in whole
        ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "unit", ["x", " ", "a ", "😀", "e\u0301", "\u200d", "👩\u200d", "!", "東", "\0", "<"]
)
def test_a_word_or_a_run_of_anything_may_be_as_long_as_a_text(
    kind: str, unit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces of which none is larger than the bound, each part of the text once."""
    given: list[str] = []
    encode = pieces._encode

    def watch(tokenizer: Tokenizer, texts: list[str]) -> Any:
        assert sum(map(len, texts)) <= 1000
        given.extend(texts)
        return encode(tokenizer, texts)

    monkeypatch.setattr(pieces, "PIECE_CHARACTERS", 1000)
    monkeypatch.setattr(pieces, "_encode", watch)
    text = (unit * 10_000)[:10_000]
    ((found,),) = text_encoder(kind).encode([text])
    assert "".join(given) == text
    assert len(found) <= 64
    assert all(0 <= start <= end <= len(text) for start, end in found.offsets)


def test_two_long_texts_are_not_combined_piece_by_piece() -> None:
    """The tokenizer keeps every pair of the pieces that two texts are cut to: 5 GiB of these."""
    text = "good film " * 2000
    ((found,),) = encoder(max_length=64).encode([(text, text)])
    assert len(found) == 64
    assert found.truncated == 8000 - 61
    assert found.sequence_ids.count(0) == 30
    assert found.sequence_ids.count(1) == 31


def test_a_million_characters() -> None:
    text = "good film " * (MAX_CHARACTERS // 10)
    ((found,),) = encoder(max_length=64).encode([("who ?", text)])
    assert found.truncated == 200_002 - 61


def test_windows_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenize_module, "MAX_WINDOW_TOKENS", 1000)
    own = encoder(max_length=20)
    assert len(own.encode([("who ?", "film " * 350)], windows=True)[0]) <= 50
    with pytest.raises(UsageError, match="the context of text 8 needs 62 windows of 20 tokens") as caught:
        own.encode([("who ?", "film "), ("who ?", "film " * 500)], windows=True, first=7)
    assert caught.value.hint == "cut it: at most 50 windows are run"
    with pytest.raises(UsageError, match="windows of 20 tokens"):
        own.encode([("who ?", "film " * 5000)], windows=True)


def edited(tokenizer: Tokenizer, edit: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(tokenizer.to_str())
    edit(document)
    return json.dumps(document).encode()


def test_a_text_that_the_tokenizer_refuses_is_named() -> None:
    """Without a token for what it does not know, WordPiece refuses the text; others it takes."""
    data = edited(wordpiece(), lambda document: document["model"]["vocab"].pop("[UNK]"))
    own = TextEncoder.from_bytes(data, wordpiece_spec(), True)
    with pytest.raises(FailedRunError, match=r"the tokenizer fails on text 2: WordPiece .*UNK") as caught:
        own.encode(["the film", "zzz", "qqq"])
    assert caught.value.hint
    assert len(own.encode(["the film"])[0][0]) == 4


def test_a_panic_of_the_tokenizer_is_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    """A panic of Rust code is no `Exception`: nothing that a server catches."""
    data = edited(wordpiece(), lambda document: document["post_processor"]["special_tokens"].pop("[SEP]"))
    with pytest.raises(IntegrityError, match=r"tokenizer\.json cannot be read"):
        TextEncoder.from_bytes(data, wordpiece_spec(), True)
    with pytest.raises(BaseException, match="entry") as caught:
        Tokenizer.from_str(data.decode()).encode("a")
    panic = type(caught.value)
    assert not issubclass(panic, Exception)

    class Panics:
        def encode_batch(self, texts: list[str], **options: Any) -> Any:
            if "boom" in texts:
                raise panic("something broke")
            return plain("bpe").encode_batch(texts, **options)

    own = text_encoder("bpe")
    own._tokenizer = Panics()  # type: ignore[assignment]
    with pytest.raises(FailedRunError, match="the tokenizer fails on text 12: something broke"):
        own.encode(["a", ("b", "boom")], first=11)
    assert own.encode(["a"]) == text_encoder("bpe").encode(["a"])
    capfd.readouterr()


def test_an_interrupt_goes_through() -> None:
    class Interrupted:
        def encode_batch(self, *_: Any, **__: Any) -> Any:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenize(Interrupted(), ["a"], 9)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [wordpiece, byte_level, *(lambda kind=kind: plain(kind) for kind in KINDS)])
def test_what_stands_around_texts(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for count in (1, 2):
        frame = frame_of(tokenizer, count)
        assert len(frame) == tokenizer.num_special_tokens_to_add(count == 2)
        assert len(frame.text_types) == count


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        ([{"Sequence": {"id": "B", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "second before"),
        ([{"Sequence": {"id": "A", "type_id": 0}}], "leaves out a text"),
    ],
)
def test_templates_of_other_models(pair: list[Any], problem: str) -> None:
    data = edited(wordpiece(), lambda document: document["post_processor"].update(pair=pair))
    with pytest.raises(UnsupportedError, match=problem):
        TextEncoder.from_bytes(data, wordpiece_spec(), True)


def test_pieces_are_cut_where_words_end() -> None:
    text = "word " * PIECE_CHARACTERS
    ends = [(piece.start, piece.start + len(piece.text)) for piece in pieces._pieces([text])]
    assert [start for start, _ in ends[1:]] == [end for _, end in ends[:-1]]
    assert all(text[start] == " " for start, _ in ends[1:])
