"""Integer matrix products: exact, and as CPUs without VNNI compute them."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.errors import UnsupportedError

LOWEST: Final = -(2**15)
HIGHEST: Final = 2**15 - 1
_FLOAT32_INTEGERS: Final = 2**24
_INT32_INTEGERS: Final = 2**31
_AT_ONCE: Final = 2**22


def integer_product(x: NDArray[Any], w: NDArray[Any]) -> NDArray[np.int32]:
    """`x @ w` in int32, exactly.

    BLAS does the work in floating point, where it is exact in any order of summation and with or without
    fused multiply-add: every partial sum is an integer of at most `max|x| * max_n sum_k |w_kn|`, and
    float32 holds every integer up to 2**24, float64 up to 2**53.

    Args:
        x: integers [..., rows, k].
        w: integers [..., k, columns].

    Returns:
        int32 [..., rows, columns].

    Raises:
        UnsupportedError: a sum could leave int32, in which kernels accumulate.
    """
    bound = _peak(x) * int(np.abs(w.astype(np.int32)).sum(axis=-2, dtype=np.int64).max(initial=0))
    if bound >= _INT32_INTEGERS:
        raise UnsupportedError(
            f"a product over {w.shape[-2]} channels could leave the 32-bit accumulators of INT8 kernels",
            "keep this layer in float: use --precision fp32",
        )
    dtype = np.float32 if bound <= _FLOAT32_INTEGERS else np.float64
    return np.asarray(np.matmul(x.astype(dtype), w.astype(dtype)), np.int32)


def saturating_product(x: NDArray[np.uint8], w: NDArray[np.int8]) -> NDArray[np.int32]:
    """`x @ w` through 16-bit sums of pairs, as AVX2 and AVX-512 without VNNI compute U8 times S8.

    `vpmaddubsw` adds the products of channels 2p and 2p + 1 and saturates the sum to int16; `vpmaddwd`
    and `vpaddd` then add those in int32, exactly. Only vpmaddubsw's sums saturate, so the result is the
    exact product less what each pair lost, and a pair that cannot leave int16 for any row is not looked
    at: with weights up to +-64 there is none, because 2 * 255 * 64 = 32640 <= 32767.

    Which kernels do so, and that all of them pair neighbours counted from channel 0 (k is filled up to a
    multiple of 4 with zeros, and blocks along k are multiples of 4):

    - onnxruntime's MLAS, U8 x S8: `QgemmU8X8KernelAvx2` and `QgemmU8X8KernelAvx512Core` broadcast 4
      bytes of a row over 4-byte column groups; `QgemvU8S8KernelAvx2` interleaves 4 rows of the matrix.
      U8 x U8 widens to 16 bits first (`vpmovzxbw`, `vpmaddwd`) and is exact.
    - oneDNN's brgemm kernel (`jit_brgemm_kernel_t::dot_product`), which OpenVINO calls. For S8 x S8 it
      adds 128 to the left operand and takes 128 times the column sums off again, so that S8 x S8
      saturates as U8 x S8 does (oneDNN developer guide, "Nuances of int8 computations", 1.1 and 2).

    Args:
        x: [rows, k].
        w: [k, columns].

    Returns:
        int32 [rows, columns].
    """
    return integer_product(x, w) - excess(x, w)


def excess(x: NDArray[np.uint8], w: NDArray[np.int8]) -> NDArray[np.int32]:
    """What the 16-bit sums of pairs lose: the exact product less the saturating one.

    Args:
        x: [rows, k].
        w: [k, columns].

    Returns:
        int32 [rows, columns].
    """
    lost = np.zeros((x.shape[0], w.shape[1]), np.int32)
    channels, weights = _even(np.ascontiguousarray(x.T)), _even(w)
    column, pair = np.nonzero(_may_saturate(channels, weights).T)
    step = max(1, _AT_ONCE // max(1, x.shape[0]))
    for start in range(0, len(column), step):
        n, p = column[start : start + step], pair[start : start + step]
        sums = _products(channels, weights, 2 * p, n) + _products(channels, weights, 2 * p + 1, n)
        over = sums - np.clip(sums, LOWEST, HIGHEST)
        first = np.flatnonzero(np.diff(n, prepend=-1))
        lost[:, n[first]] += np.add.reduceat(over, first, axis=0).T
    return lost


def saturating_pairs(x: NDArray[np.uint8], w: NDArray[np.int8]) -> int:
    """How many pairs of `x @ w`, counted over rows and columns, leave int16."""
    channels, weights = _even(np.ascontiguousarray(x.T)), _even(w)
    column, pair = np.nonzero(_may_saturate(channels, weights).T)
    found = 0
    for n, p in zip(column, pair, strict=True):
        left = channels[2 * p : 2 * p + 2].astype(np.int32)
        sums = (left * weights[2 * p : 2 * p + 2, n : n + 1]).sum(axis=0)
        found += int(((sums < LOWEST) | (sums > HIGHEST)).sum())
    return found


def _products(
    channels: NDArray[np.uint8], weights: NDArray[np.int8], k: NDArray[np.intp], n: NDArray[np.intp]
) -> NDArray[np.int32]:
    return channels[k].astype(np.int32) * weights[k, n].astype(np.int32)[:, None]


def _may_saturate(channels: NDArray[np.uint8], weights: NDArray[np.int8]) -> NDArray[np.bool_]:
    """[pairs, columns]: whether some row could leave int16, by each channel's largest value."""
    largest = weights.astype(np.int32) * channels.max(axis=1, initial=0).astype(np.int32)[:, None]
    up, down = np.maximum(largest, 0), np.minimum(largest, 0)
    return np.asarray((up[0::2] + up[1::2] > HIGHEST) | (down[0::2] + down[1::2] < LOWEST))


def _even(a: NDArray[Any]) -> NDArray[Any]:
    """One more row of zeros where their number is odd."""
    return np.pad(a, ((0, a.shape[0] % 2), (0, 0)))


def _peak(x: NDArray[Any]) -> int:
    return max(int(x.max(initial=0)), -int(x.min(initial=0)))
