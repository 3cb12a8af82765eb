"""Entities out of tags, in every scheme, and their F1."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import entity_counts, entity_f1, entity_f1_of, entity_spans
from targets.errors import InternalError


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("O O", []),
        ("B-PER I-PER O B-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B-PER B-PER", [("PER", 0, 1), ("PER", 1, 2)]),
        ("I-PER I-PER O I-LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B-PER I-LOC", [("PER", 0, 1), ("LOC", 1, 2)]),
        ("S-PER B-LOC I-LOC E-LOC", [("PER", 0, 1), ("LOC", 1, 4)]),
        ("B-LOC E-LOC I-LOC", [("LOC", 0, 2), ("LOC", 2, 3)]),
        ("S-LOC S-LOC", [("LOC", 0, 1), ("LOC", 1, 2)]),
        ("E-LOC E-LOC", [("LOC", 0, 1), ("LOC", 1, 2)]),
        ("B-LOC S-LOC", [("LOC", 0, 1), ("LOC", 1, 2)]),
        ("B-X L-X U-Y", [("X", 0, 2), ("Y", 2, 3)]),
        ("B-X M-X E-X", [("X", 0, 3)]),
        ("PER PER O LOC", [("PER", 0, 2), ("LOC", 3, 4)]),
        ("B I O B", [("", 0, 2), ("", 3, 4)]),
        ("B-work-of-art I-work-of-art", [("work-of-art", 0, 2)]),
        ("Misc", [("Misc", 0, 1)]),
        ("", []),
    ],
)
def test_spans(tags: str, spans: list[tuple[str, int, int]]) -> None:
    assert entity_spans(tags.split()) == spans


@st.composite
def marked(draw: st.DrawFn) -> tuple[list[str], list[str], list[tuple[str, int, int]]]:
    """The same entities written as BIO and as BIOES, and the entities."""
    bio: list[str] = []
    bioes: list[str] = []
    spans = []
    for label, length in draw(st.lists(st.tuples(st.sampled_from(["O", "PER", "LOC"]), st.integers(1, 4)))):
        if label == "O":
            bio += ["O"] * length
            bioes += ["O"] * length
            continue
        spans.append((label, len(bio), len(bio) + length))
        bio += [f"B-{label}"] + [f"I-{label}"] * (length - 1)
        one = [f"S-{label}"]
        bioes += one if length == 1 else [f"B-{label}"] + [f"I-{label}"] * (length - 2) + [f"E-{label}"]
    return bio, bioes, spans


@given(marked())
def test_well_formed_tags_give_back_their_entities(case: tuple[list[str], list[str], list[object]]) -> None:
    bio, bioes, spans = case
    assert entity_spans(bio) == spans
    assert entity_spans(bioes) == spans


@given(st.lists(st.sampled_from(["O", "B-X", "I-X", "E-X", "S-X", "B-Y", "I-Y", "E-Y", "S-Y"])))
def test_spans_are_in_order_and_cover_all_that_is_not_outside(tags: list[str]) -> None:
    covered = [i for span in entity_spans(tags) for i in range(span.start, span.end)]
    assert covered == [i for i, tag in enumerate(tags) if tag != "O"]


def test_f1() -> None:
    gold = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "O"]]
    said = [["B-PER", "I-PER", "O", "B-ORG"], ["O", "B-LOC"]]
    counts = entity_counts(said, gold)
    assert counts.tolist() == [[1, 2, 2], [0, 1, 0]]
    assert entity_f1(said, gold) == entity_f1_of(counts) == pytest.approx(2 * 1 / (3 + 2))
    assert entity_f1(gold, gold) == 1.0
    assert entity_f1([["B-PER", "O"]], [["B-PER", "I-PER"]]) == 0.0
    assert entity_f1([["O"]], [["O"]]) == 0.0


def test_misuse() -> None:
    with pytest.raises(InternalError):
        entity_counts([["O"]], [["O", "O"]])
    with pytest.raises(InternalError):
        entity_counts([["O"]], [])
