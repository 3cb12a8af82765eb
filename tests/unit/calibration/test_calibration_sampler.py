"""Seeded sampling: reproducible, in order, uniform, bounded."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import MIN_SAMPLES, sample
from targets.errors import UsageError


@given(total=st.integers(8, 300), n=st.integers(8, 60), seed=st.integers(0, 2**32))
def test_a_sample_is_reproducible_without_repetition_and_in_order(total: int, n: int, seed: int) -> None:
    drawn = sample(iter(range(total)), n, seed)
    assert drawn == sample(range(total), n, seed)
    assert len(drawn) == min(n, total)
    assert drawn == sorted(set(drawn))


def test_the_seed_matters_and_the_draw_is_fixed_for_good() -> None:
    assert sample(range(1000), 8, 1) != sample(range(1000), 8, 2)
    assert sample(range(1000), 8, 0) == [83, 410, 510, 520, 591, 664, 671, 914]


def test_every_row_is_as_likely() -> None:
    drawn = Counter(row for seed in range(2000) for row in sample(range(40), 10, seed))
    assert set(drawn) == set(range(40))
    assert all(400 < count < 600 for count in drawn.values())


def test_too_few() -> None:
    with pytest.raises(UsageError, match="7 rows of calibration data"):
        sample(range(MIN_SAMPLES - 1), 100)
    with pytest.raises(UsageError, match="7 calibration samples asked for"):
        sample(range(100), 7)
    assert sample(range(3), 2, minimum=1) in ([0, 1], [0, 2], [1, 2])
