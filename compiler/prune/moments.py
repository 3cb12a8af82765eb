"""Second moments of what a product reads and what it should give, added up in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


class Moments:
    """X'X, X'Y and the squares of Y over rows of tokens; X has a column of ones for the bias at its end.

    Args:
        inputs: columns of X, without that of ones.
        outputs: columns of Y.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        """No rows yet."""
        self.gram: Matrix = np.zeros((inputs + 1, inputs + 1))
        self.cross: Matrix = np.zeros((inputs + 1, outputs))
        self.power = 0.0
        self.rows = 0

    def add(self, read: NDArray[Any], wanted: NDArray[Any]) -> None:
        """Adds rows.

        Args:
            read: [rows, inputs].
            wanted: [rows, outputs].
        """
        x = np.concatenate([np.asarray(read, np.float64), np.ones((len(read), 1))], axis=1)
        y = np.asarray(wanted, np.float64)
        self.gram += x.T @ x
        self.cross += x.T @ y
        self.power += float(np.sum(y * y))
        self.rows += len(x)

    def error(self, weight: Matrix) -> float:
        """The squared error of X W against Y, summed over rows and columns, never below 0.

        Args:
            weight: [inputs + 1, outputs], the bias its last row.
        """
        explained = np.sum(weight * (self.gram @ weight)) - 2.0 * np.sum(weight * self.cross)
        return max(0.0, self.power + float(explained))
