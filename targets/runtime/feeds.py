"""Checks the arrays that a caller gives a model, before native code sees them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from targets.errors import UnsupportedError, UsageError
from targets.runtime.backends.base import INPUT_NAMES, Array, as_int64
from targets.runtime.limits import MAX_RUN_TOKENS

_DEFAULTS = {"attention_mask": 1, "token_type_ids": 0}


def check_feeds(
    feeds: Mapping[str, Array], names: Sequence[str], max_length: int, max_id: int
) -> dict[str, Array]:
    """The feeds as int64 [batch, sequence], with what may be left out filled in.

    Args:
        feeds: arrays of integers by input name. `attention_mask` is all ones when left out, and
            `token_type_ids` all zeros.
        names: the model's inputs.
        max_length: the most tokens that the model reads.
        max_id: the largest token id.

    Raises:
        UsageError: an unknown or missing name, a type other than integer, another shape than `input_ids`, an
            empty axis, more than `max_length` tokens in a row or `MAX_RUN_TOKENS` in all, or a number that
            is no token id, or in the other arrays neither 0 nor 1.
    """
    for name in feeds:
        if name not in names:
            raise UsageError(f"the model has no input {name!r}", f"it takes: {', '.join(names)}")
    if "input_ids" not in feeds:
        raise UsageError("input_ids are missing", f"the model takes: {', '.join(names)}")
    ids = _check_array("input_ids", feeds["input_ids"], max_id)
    if ids.shape[1] > max_length:
        raise UsageError(f"{ids.shape[1]} tokens in a row", f"the model reads at most {max_length}")
    result = {}
    for name in names:
        if name == "input_ids":
            array = ids
        elif name in feeds:
            array = _check_array(name, feeds[name], 1)
        else:
            array = np.full_like(ids, _DEFAULTS[name])
        if array.shape != ids.shape:
            raise UsageError(
                f"{name} has the shape {list(array.shape)} and input_ids {list(ids.shape)}",
                "give both the same",
            )
        result[name] = array
    return result


def check_inputs(names: Sequence[str]) -> None:
    """Refuses a model with inputs that bertc does not feed.

    Raises:
        UnsupportedError: an unknown input, or no `input_ids`.
    """
    if "input_ids" not in names or not set(names) <= set(INPUT_NAMES):
        raise UnsupportedError(
            f"the model's inputs are {', '.join(names)}", f"bertc feeds {', '.join(INPUT_NAMES)}"
        )


def _check_array(name: str, value: Array, largest: int) -> Array:
    """The array as int64; the two runtimes make different things of numbers out of bounds."""
    array = np.asarray(value)
    if array.dtype.kind not in "iub":
        raise UsageError(f"{name} is of type {array.dtype}", "give an array of integers")
    if array.ndim != 2 or 0 in array.shape:
        raise UsageError(f"{name} has the shape {list(array.shape)}", "give [batch, sequence], neither empty")
    if array.size > MAX_RUN_TOKENS:
        raise UsageError(f"{array.size} tokens in one run", f"give at most {MAX_RUN_TOKENS} at a time")
    if array.dtype.kind == "i" and array.min() < 0:
        raise UsageError(f"{name} holds a negative number", f"give numbers from 0 to {largest}")
    if array.max() > largest:
        raise UsageError(f"{name} holds {array.max()}", f"give numbers from 0 to {largest}")
    return as_int64(array)
