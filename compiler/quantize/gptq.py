"""Weights rounded one input channel at a time, the error of each made good by those that follow."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

DAMPING: Final = 0.01
_BLOCK: Final = 64


def gptq_round(
    weight: NDArray[np.float32], hessian: NDArray[np.float64], scale: NDArray[np.float32], *, qmax: int
) -> NDArray[np.int8]:
    """Integers q that make `||X W - X (q s)||^2` small (GPTQ, Frantar et al. 2023, algorithm 1).

    Input channels go in the order of falling `H_ii`; channel i's rounding error e_i changes the
    channels not yet rounded by `- e_i U_i,j / U_ii`, with U the upper Cholesky factor of the inverse of
    `H + d mean(diag H) I`, d = `DAMPING`. Channels that were never seen are rounded to nearest.

    Args:
        weight: W, [in, out].
        hessian: H = X'X over the quantized inputs, float64 [in, in].
        scale: s, one step per column, [out].
        qmax: largest integer.
    """
    diagonal = np.diagonal(hessian)
    order = np.argsort(-diagonal, kind="stable")
    factor = _inverse_factor(hessian[np.ix_(order, order)])
    left = weight[order].astype(np.float64)
    step = scale.astype(np.float64)
    rounded = np.empty(left.shape, np.int8)
    for start in range(0, len(left), _BLOCK):
        end = min(start + _BLOCK, len(left))
        errors = np.empty((end - start, left.shape[1]))
        for row in range(start, end):
            integers = np.clip(np.rint(left[row] / step), -qmax, qmax)
            rounded[row] = integers
            errors[row - start] = (left[row] - integers * step) / factor[row, row]
            left[row + 1 : end] -= np.outer(factor[row, row + 1 : end], errors[row - start])
        left[end:] -= factor[start:end, end:].T @ errors
    result = np.empty_like(rounded)
    result[order] = rounded
    return result


def _inverse_factor(hessian: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper U with `U'U = inv(H damped)`."""
    damped = hessian.copy()
    diagonal = np.einsum("ii->i", damped)
    mean = float(diagonal.mean())
    diagonal += DAMPING * mean if mean > 0.0 else 1.0
    inverse = np.linalg.inv(damped)
    return np.ascontiguousarray(np.linalg.cholesky((inverse + inverse.T) / 2.0).T)
