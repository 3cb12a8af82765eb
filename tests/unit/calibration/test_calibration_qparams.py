"""Scale, zero point and rounding: the algebra of uniform quantization."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from calibration import (
    QuantParams,
    dequantize,
    fake_quantize,
    integer_bounds,
    qparams,
    quantize,
    representable,
)
from targets.errors import InternalError

BOUNDS = st.floats(-(2.0**30), 2.0**30, width=32).map(lambda value: value if abs(value) > 2.0**-30 else 0.0)
RANGES = st.tuples(BOUNDS, BOUNDS).map(lambda pair: (min(pair), max(pair)))
SHARES = hnp.arrays(np.float64, 17, elements=st.floats(0.0, 1.0))
BITS = st.sampled_from([4, 8, 16])
FLAGS = st.booleans()


@given(RANGES, SHARES, BITS, FLAGS, FLAGS)
def test_inside_the_range_the_error_is_at_most_half_a_step(
    ends: tuple[float, float], shares: NDArray[np.float64], bits: int, signed: bool, symmetric: bool
) -> None:
    params = qparams(*ends, bits, signed, symmetric)
    low, high = min(ends[0], 0.0), max(ends[1], 0.0)
    x = (low + shares * (high - low)).astype(np.float32)
    error = np.abs(fake_quantize(x, params, bits=bits, signed=signed).astype(np.float64) - x)
    assert error.max() <= 0.5 * float(params.scale) * (1 + 1e-4) + np.abs(x).max() * 2**-22


@given(RANGES, BITS, FLAGS, FLAGS)
def test_zero_is_exact_and_the_zero_point_fits_the_type(
    ends: tuple[float, float], bits: int, signed: bool, symmetric: bool
) -> None:
    params = qparams(*ends, bits, signed, symmetric)
    qmin, qmax = integer_bounds(bits, signed)
    assert qmin <= params.zero_point <= qmax
    assert params.scale > 0
    assert fake_quantize(np.zeros(1, np.float32), params, bits=bits, signed=signed)[0] == 0.0
    low, high = representable(params, bits, signed)
    assert low <= 0.0 <= high


@given(RANGES, hnp.arrays(np.float32, 32, elements=st.floats(-1e6, 1e6, width=32)))
def test_s8_with_zero_point_0_and_u8_with_128_are_the_same_numbers(
    ends: tuple[float, float], x: NDArray[np.float32]
) -> None:
    s8, u8 = qparams(*ends, 8, True, True), qparams(*ends, 8, False, True)
    assert (s8.zero_point, u8.zero_point) == (0, 128)
    assert s8.scale == u8.scale
    a, b = quantize(x, s8), quantize(x, u8, signed=False)
    assert np.array_equal(a.astype(int) + 128, b.astype(int))
    assert np.array_equal(dequantize(a, s8), dequantize(b, u8))


@given(RANGES, hnp.arrays(np.float32, 32, elements=st.floats(-1e6, 1e6, width=32)), FLAGS, FLAGS)
def test_quantizing_twice_changes_nothing_more(
    ends: tuple[float, float], x: NDArray[np.float32], signed: bool, symmetric: bool
) -> None:
    params = qparams(*ends, 8, signed, symmetric)
    q = quantize(x, params, signed=signed)
    assert np.array_equal(quantize(dequantize(q, params), params, signed=signed), q)


def test_known_values() -> None:
    assert qparams(0.0, 1.0, 8, False, False) == (np.float32(1 / 255), 0)
    assert qparams(-1.0, 1.0, 8, True, True) == (np.float32(1 / 127), 0)
    assert qparams(-1.0, 3.0, 8, False, False) == (np.float32(4 / 255), 64)
    assert qparams(-1.0, 3.0, 8, True, False) == (np.float32(4 / 255), -64)
    assert qparams(2.0, 4.0, 8, False, False) == (np.float32(4 / 255), 0)
    assert qparams(-4.0, -2.0, 8, False, False) == (np.float32(4 / 255), 255)


def test_an_empty_range_has_scale_one() -> None:
    assert qparams(0.0, 0.0, 8, True, True) == (np.float32(1), 0)
    assert qparams(0.0, 0.0, 8, False, True) == (np.float32(1), 128)
    assert qparams(0.0, 0.0, 8, False, False) == (np.float32(1), 0)


def test_a_range_below_the_smallest_scale_still_has_one() -> None:
    params = qparams(0.0, 1e-44, 8, False, False)
    assert params.scale == np.finfo(np.float32).tiny
    assert quantize(np.array([1e-44, 1.0], np.float32), params, signed=False).tolist() == [0, 255]


def test_rounding_is_half_to_even_and_saturates() -> None:
    params = QuantParams(np.float32(1.0), 0)
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 300.0, -300.0], np.float32)
    assert quantize(x, params).tolist() == [0, 2, 2, 0, -2, 127, -128]


@pytest.mark.parametrize(
    ("bits", "signed", "dtype"),
    [(4, True, "int8"), (8, False, "uint8"), (16, True, "int16"), (16, False, "uint16")],
)
def test_storage_types(bits: int, signed: bool, dtype: str) -> None:
    q = quantize(
        np.array([-9.0, 9.0], np.float32), qparams(-1.0, 1.0, bits, signed, True), bits=bits, signed=signed
    )
    assert q.dtype == dtype
    assert tuple(q.tolist()) == integer_bounds(bits, signed)


@pytest.mark.parametrize("ends", [(1.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_no_range(ends: tuple[float, float]) -> None:
    with pytest.raises(InternalError):
        qparams(*ends)
    with pytest.raises(InternalError):
        integer_bounds(1, True)
