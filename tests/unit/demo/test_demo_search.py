"""Ranks of two models side by side."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler.demo.search import same_nearest, search

PASSAGES = ("a", "b", "c", "d")


def unit(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_both_models_best_are_shown_in_the_order_of_fp32() -> None:
    fp32 = (unit(0), unit(10, 20, 30, 40))
    bundle = (unit(0), unit(25, 20, 30, 15))
    (found,) = search(["q"], PASSAGES, fp32, bundle, top=2)
    assert found.query == "q"
    assert [(hit.text, hit.fp32_rank, hit.bundle_rank) for hit in found.hits] == [
        ("a", 1, 3),
        ("b", 2, 2),
        ("d", 4, 1),
    ]
    assert found.hits[0].fp32_cosine == pytest.approx(np.cos(np.radians(10)), abs=1e-6)
    assert found.hits[0].bundle_cosine == pytest.approx(np.cos(np.radians(25)), abs=1e-6)


def test_nearest_is_another_text() -> None:
    before = unit(0, 10, 100, 105)
    assert same_nearest(before, unit(0, 10, 100, 105)) == 1.0
    assert same_nearest(before, unit(0, 60, 100, 105)) == 0.75


@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_a_model_agrees_with_itself(seed: int, count: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(count, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert same_nearest(vectors, vectors) == 1.0
    for found in search(["x", "y"], "p" * count, (vectors[:2], vectors), (vectors[:2], vectors), top=3):
        assert [hit.fp32_rank for hit in found.hits] == list(range(1, min(3, count) + 1))
        assert all(hit.fp32_rank == hit.bundle_rank for hit in found.hits)
        assert found.hits[0].fp32_cosine == pytest.approx(1.0, abs=1e-5)
