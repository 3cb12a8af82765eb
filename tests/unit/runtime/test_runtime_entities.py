from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from targets.bundle.schema import TaskConfig
from targets.runtime.inference import Inference, Window
from targets.runtime.tasks import Entity, TokenClassification, token_labels
from targets.runtime.tasks.token_classification import decode, parse_tag
from targets.runtime.tokenize import TextEncoder
from tests.support.tiny_runtime import RUNTIMES, byte_encoder, encoder, session, table

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
BIOES = ("O", "B-PER", "I-PER", "E-PER", "S-PER", "S-LOC")


def tagged(
    text: str, labels: tuple[str, ...], tags: Mapping[str, str], text_encoder: TextEncoder
) -> Inference:
    """An inference whose tokens have the labels of their text; others are O or the first label."""
    return tagged_by(
        text, labels, lambda start, end: tags.get(text[start:end].lower(), labels[0]), text_encoder
    )


def tagged_by(
    text: str, labels: tuple[str, ...], tag: Callable[[int, int], str], text_encoder: TextEncoder
) -> Inference:
    ((encoding,),) = text_encoder.encode([text])
    logits = np.zeros((len(encoding), len(labels)), dtype=np.float32)
    for row, (start, end) in enumerate(encoding.offsets):
        logits[row, labels.index(tag(start, end))] = 5
    return Inference(text, (Window(encoding, {"logits": logits}),))


def found(inference: Inference, labels: tuple[str, ...]) -> list[tuple[str, str]]:
    text = inference.item
    entities = decode(inference, TaskConfig(None, labels)).entities
    for entity in entities:
        assert text[entity.start : entity.end] == entity.text
    return [(entity.label, entity.text) for entity in entities]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_entities_of_a_model(runtime: str) -> None:
    rows = {
        "anna": [0, 9, 0, 0, 0],
        "maria": [0, 9, 0, 0, 0],
        "silva": [0, 0, 9, 0, 0],
        "new": [0, 0, 0, 9, 0],
        "york": [0, 0, 0, 0, 9],
        "berlin": [0, 0, 0, 9, 0],
    }
    values = table(5, {word: [float(value) for value in row] for word, row in rows.items()})
    values[:, 0] += 1
    with session(runtime, "token-classification", values, BIO) as opened:
        first, second, third = opened(["Maria Silva was in New York , Berlin .", "", "the film"])
    assert isinstance(first, TokenClassification)
    assert [(entity.label, entity.text, entity.start, entity.end) for entity in first.entities] == [
        ("PER", "Maria Silva", 0, 11),
        ("LOC", "New York", 19, 27),
        ("LOC", "Berlin", 30, 36),
    ]
    chance = np.exp(9) / (np.exp(9) + np.exp(1) + 3)
    assert first.entities[0].score == pytest.approx(chance, abs=1e-4)
    assert second == third == TokenClassification(())
    assert first.to_dict()["entities"][2] == first.entities[2].to_dict()


def test_bio() -> None:
    tags = {"anna": "B-PER", "maria": "B-PER", "silva": "I-PER", "berlin": "I-LOC", "new": "B-LOC"}
    check = lambda text: found(tagged(text, BIO, tags, encoder()), BIO)  # noqa: E731
    assert check("anna maria silva") == [("PER", "anna"), ("PER", "maria silva")]
    assert check("the silva film silva") == [("PER", "silva"), ("PER", "silva")]
    assert check("silva berlin") == [("PER", "silva"), ("LOC", "berlin")]
    assert check("anna berlin , new") == [("PER", "anna"), ("LOC", "berlin"), ("LOC", "new")]
    assert check("the film") == []


def test_bioes() -> None:
    tags = {"anna": "S-PER", "maria": "B-PER", "the": "I-PER", "silva": "E-PER", "berlin": "S-LOC"}
    check = lambda text: found(tagged(text, BIOES, tags, encoder()), BIOES)  # noqa: E731
    assert check("anna anna") == [("PER", "anna"), ("PER", "anna")]
    assert check("maria the silva the") == [("PER", "maria the silva"), ("PER", "the")]
    assert check("silva silva berlin") == [("PER", "silva"), ("PER", "silva"), ("LOC", "berlin")]


def test_labels_without_tags() -> None:
    labels = ("O", "PER", "LOC")
    tags = {"anna": "PER", "silva": "PER", "berlin": "LOC"}
    assert found(tagged("anna silva berlin", labels, tags, encoder()), labels) == [
        ("PER", "anna silva"),
        ("LOC", "berlin"),
    ]
    parts = ("NOUN", "VERB")
    assert found(tagged("film film was", parts, {"was": "VERB"}, encoder()), parts) == [
        ("NOUN", "film"),
        ("NOUN", "film"),
        ("VERB", "was"),
    ]


def test_a_word_takes_the_label_of_its_first_piece() -> None:
    def tag(start: int, end: int) -> str:
        del end
        return "B-PER" if start == 4 else "O"

    inference = tagged_by("the playing film", BIO, tag, encoder())
    assert len(token_labels(inference).ids) == 4
    assert found(inference, BIO) == [("PER", "playing")]


def test_punctuation_has_a_label_of_its_own() -> None:
    inference = tagged("Anna, Berlin!", BIO, {"anna": "B-PER", "berlin": "B-LOC"}, encoder())
    assert found(inference, BIO) == [("PER", "Anna"), ("LOC", "Berlin")]


@pytest.mark.parametrize("make", [encoder, byte_encoder])
def test_unicode_and_emoji(make: Any) -> None:
    text = "😀 José 東京 ana\u0301!"
    spans = {"José": "B-PER", "東京": "B-LOC", "ana\u0301": "I-PER", "😀": "I-LOC"}
    labels = {text.index(word): (text.index(word) + len(word), label) for word, label in spans.items()}

    def tag(start: int, end: int) -> str:
        for first, (last, label) in labels.items():
            if first <= start < last and end > start:
                return label if start == first else "I" + label[1:]
        return "O"

    inference = tagged_by(text, BIO, tag, make(max_length=64))
    assert found(inference, BIO) == [
        ("LOC", "😀"),
        ("PER", "José"),
        ("LOC", "東京"),
        ("PER", "ana\u0301"),
    ]


def test_scripts_without_spaces_are_labelled_by_token() -> None:
    inference = tagged_by("東京東京", BIO, lambda start, _: "B-LOC" if start % 2 == 0 else "I-LOC", encoder())
    assert found(inference, BIO) == [("LOC", "東京"), ("LOC", "東京")]


def test_spaces_inside_offsets_are_stripped() -> None:
    ((encoding,),) = byte_encoder().encode(["a b"])
    spaced = type(encoding)(
        encoding.ids, encoding.type_ids, ((0, 0), (0, 1), (1, 3), (1, 3), (0, 0)), encoding.sequence_ids
    )
    logits = np.zeros((5, 2), dtype=np.float32)
    logits[2:4, 1] = 5
    inference = Inference("a b", (Window(spaced, {"logits": logits}),))
    entities = decode(inference, TaskConfig(None, ("O", "B-X"))).entities
    assert [(entity.start, entity.end, entity.text) for entity in entities] == [(2, 3, "b")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("O", None),
        ("B-PER", ("B", "PER")),
        ("I_org", ("I", "org")),
        ("S-a-b", ("S", "a-b")),
        ("PER", ("", "PER")),
        ("LABEL_0", ("", "LABEL_0")),
        ("B-", ("", "B-")),
    ],
)
def test_parse_tag(name: str, expected: tuple[str, str] | None) -> None:
    assert parse_tag(name) == expected


@given(
    st.text(alphabet="a b东é😀.\u0301\t", max_size=25), st.lists(st.integers(0, 4), min_size=80, max_size=80)
)
def test_entities_are_slices_in_order(text: str, tags: list[int]) -> None:
    for text_encoder in (encoder(max_length=200), byte_encoder(max_length=200)):
        ((encoding,),) = text_encoder.encode([text])
        logits = np.eye(5, dtype=np.float32)[[tags[i % 80] for i in range(len(encoding))]]
        inference = Inference(text, (Window(encoding, {"logits": logits}),))
        last = 0
        for entity in decode(inference, TaskConfig(None, BIO)).entities:
            assert isinstance(entity, Entity)
            assert last <= entity.start < entity.end <= len(text)
            assert entity.text == text[entity.start : entity.end] == entity.text.strip()
            assert 0 < entity.score <= 1
            last = entity.end
