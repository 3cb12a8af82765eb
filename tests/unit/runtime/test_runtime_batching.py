from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from targets.runtime.batching import batches


@given(st.lists(st.integers(1, 600), max_size=200), st.integers(1, 40), st.integers(1, 4096))
def test_every_text_once_within_bounds(lengths: list[int], max_batch: int, max_tokens: int) -> None:
    groups = batches([range(length) for length in lengths], max_batch=max_batch, max_tokens=max_tokens)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        sizes = [lengths[index] for index in group]
        assert 1 <= len(group) <= max_batch
        assert len(group) == 1 or len(group) * max(sizes) <= max_tokens
        assert sizes == sorted(sizes, reverse=True)
        assert min(sizes) >= min(0.75 * max(sizes), max(sizes) - 4)


def test_equal_lengths_fill_the_batch() -> None:
    groups = batches([range(10)] * 70, max_batch=32, max_tokens=10_000)
    assert [len(group) for group in groups] == [32, 32, 6]
    assert groups[0] == list(range(32))


def test_token_budget_closes_a_group() -> None:
    assert [len(group) for group in batches([range(128)] * 20, max_tokens=1024)] == [8, 8, 4]


def test_lengths_far_apart_do_not_share_a_run() -> None:
    assert batches([range(100), range(10), range(90)]) == [[0, 2], [1]]
    assert batches([]) == []
