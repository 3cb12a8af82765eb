"""How much work a step is, so that bars move evenly and a compile's time can be told before."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from compiler.quantize.layer import SEARCH_ROWS

UNIT: Final = 1e8
"""Floating-point operations of one step of a bar."""

# Fitted to compiles of models of 22 and 110 million parameters on 100 to 1,000 texts.
_TOKEN_PASSES: Final = 11.0
_SEARCH_PASSES: Final = 30.0
_HESSIAN_PASSES: Final = 4.0
_SITE: Final = 4e10
OBSERVED: Final = 1.5
"""Runs of the float model that finding the ranges takes as long as."""
_DIFFERENTIATED: Final = 3.0
_PATH: Final = 20.0

Advance = Callable[[int], None]


def observing(parameters: int, tokens: int) -> float:
    """Operations of finding the ranges of all activations."""
    return OBSERVED * forward(parameters, tokens)


def forward(parameters: int, tokens: int) -> float:
    """Operations of running tokens through a model, attention left out."""
    return 2.0 * parameters * tokens


def quantizing(width: int, outputs: int, rows: int) -> float:
    """Operations of quantizing the layers that read one activation of `width` channels, on `rows` tokens."""
    passes = _TOKEN_PASSES * rows + _SEARCH_PASSES * SEARCH_ROWS + _HESSIAN_PASSES * width
    return _SITE + 2.0 * width * outputs * passes


def differentiating(parameters: int, tokens: int) -> float:
    """Operations of running tokens forward and backward."""
    return _DIFFERENTIATED * forward(parameters, tokens)


def gathering(width: int, tokens: int, parameters: int) -> float:
    """Operations of X'X of one activation of `width` channels, in double precision, and of reaching it."""
    return 4.0 * tokens * width**2 + forward(parameters, tokens)


def ordering(width: int) -> float:
    """Operations of finding the order in which `width` channels are best cut."""
    return _PATH * float(width) ** 3


def steps(operations: float) -> int:
    """The steps that a bar moves for so much work, one at least."""
    return max(1, round(operations / UNIT))


def stepping(advance: Advance | None, sizes: Iterable[int]) -> Advance | None:
    """What is called once for each step and advances by its size."""
    if advance is None:
        return None
    left = iter(sizes)

    def step(_: int) -> None:
        advance(next(left))

    return step
