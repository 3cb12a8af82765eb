from __future__ import annotations

from functools import cache
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from targets.runtime.batching import batches


@given(
    st.lists(st.integers(1, 600), max_size=200), st.integers(1, 40), st.integers(1, 4096), st.integers(0, 64)
)
def test_every_text_once_within_bounds(
    lengths: list[int], max_batch: int, max_tokens: int, run_tokens: int
) -> None:
    groups = batches(
        [range(length) for length in lengths],
        max_batch=max_batch,
        max_tokens=max_tokens,
        run_tokens=run_tokens,
    )
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        sizes = [lengths[index] for index in group]
        assert 1 <= len(group) <= max_batch
        assert len(group) == 1 or len(group) * max(sizes) <= max_tokens
        assert sizes == sorted(sizes, reverse=True)
    for one, other in pairwise(groups):
        assert lengths[one[-1]] >= lengths[other[0]]


def cost(groups: list[list[int]], lengths: list[int], run_tokens: int) -> int:
    return sum(run_tokens + len(group) * max(lengths[index] for index in group) for group in groups)


def least_cost(lengths: list[int], max_batch: int, max_tokens: int, run_tokens: int) -> int:
    """Over all ways to split the texts, neighbours by length or not."""

    @cache
    def best(rest: frozenset[int]) -> int:
        if not rest:
            return 0
        first, *others = sorted(rest)
        found = []
        for choice in range(1 << len(others)):
            group = [first, *(other for bit, other in enumerate(others) if choice >> bit & 1)]
            padded = len(group) * max(lengths[index] for index in group)
            if len(group) <= max_batch and (padded <= max_tokens or len(group) == 1):
                found.append(run_tokens + padded + best(rest - frozenset(group)))
        return min(found)

    return best(frozenset(range(len(lengths))))


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=7),
    st.integers(1, 7),
    st.integers(1, 200),
    st.integers(0, 32),
)
def test_no_other_grouping_costs_less(
    lengths: list[int], max_batch: int, max_tokens: int, run_tokens: int
) -> None:
    groups = batches(
        [range(length) for length in lengths],
        max_batch=max_batch,
        max_tokens=max_tokens,
        run_tokens=run_tokens,
    )
    assert cost(groups, lengths, run_tokens) == least_cost(lengths, max_batch, max_tokens, run_tokens)


def test_equal_lengths_make_as_few_runs_as_possible() -> None:
    groups = batches([range(10)] * 70, max_batch=32, max_tokens=10_000)
    assert len(groups) == 3
    assert max(len(group) for group in groups) <= 32
    assert len(batches([range(128)] * 20, max_tokens=1024)) == 3


def test_padding_is_weighed_against_another_run() -> None:
    lengths = [range(100), range(10), range(90)]
    assert batches(lengths) == [[0, 2], [1]]
    assert batches(lengths, run_tokens=0) == [[0], [2], [1]]
    assert batches(lengths, run_tokens=1000) == [[0, 2, 1]]
    assert batches([]) == []
