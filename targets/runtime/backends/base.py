"""The contract between a session and the runtime that executes a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from targets.errors import UnsupportedError, UsageError

Array: TypeAlias = NDArray[Any]

INPUT_NAMES = ("input_ids", "attention_mask", "token_type_ids")
_MAX_DIGITS = 20

OUTPUT_NAMES = ("logits", "start_logits", "end_logits", "sentence_embedding", "last_hidden_state")


class Backend(Protocol):
    """A loaded model on one runtime.

    Inputs are int64 `[batch, sequence]`; outputs are float32 with `batch` as their first axis.
    """

    @property
    def name(self) -> str:
        """The runtime's canonical name, one of `targets.spec.RUNTIMES`."""

    @property
    def version(self) -> str:
        """The version of the installed runtime package."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """The model's inputs, in the model's order."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """The model's outputs, in the model's order."""

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Runs the model once.

        Args:
            feeds: one array for every input name.
            outputs: the outputs to return; all of them when None.

        Returns:
            Arrays that the caller owns, by output name.

        Raises:
            FailedRunError: the runtime fails.
        """

    def close(self) -> None:
        """Releases the model; `run` fails afterwards."""


@runtime_checkable
class Shaped(Protocol):
    """A backend that also holds models of one shape each; see `targets.runtime.settings.ShapePolicy`."""

    def padded(self, batch: int, length: int) -> int:
        """The length to pad a run to: that of the model of its shape, or its own where there is none.

        Counts as asking for that shape.
        """

    def prepare(self, lengths: Sequence[int]) -> dict[int, float]:
        """Compiles the models that texts of these lengths run on, and waits for them.

        Returns:
            The seconds that each model took by its length, those that were there already included.
        """

    @property
    def shapes(self) -> Mapping[int, float]:
        """The lengths of the models that are there, and the seconds that each took."""


def check_options(
    runtime: str, options: Mapping[str, str], allowed: Mapping[str, frozenset[str] | None]
) -> None:
    """Refuses options that are not on a runtime's allow-list.

    Args:
        runtime: the runtime's name, for the message.
        options: what a manifest or a profile asks for.
        allowed: the values each option may take; None stands for a non-negative whole number.

    Raises:
        UnsupportedError: for an option or a value that is not on the list.
    """
    for key, value in options.items():
        if key not in allowed:
            raise UnsupportedError(
                f"the option {key!r} is not allowed for {runtime}",
                f"use one of: {', '.join(sorted(allowed))}",
            )
        values = allowed[key]
        if values is None:
            if not (value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS):
                raise UnsupportedError(
                    f"the option {key} of {runtime} is not a whole number: {value!r}", "use 0 or more"
                )
        elif value not in values:
            raise UnsupportedError(
                f"the option {key} of {runtime} cannot be {value!r}",
                f"use one of: {', '.join(sorted(values))}",
            )


def closed_error() -> UsageError:
    """The error of running a model after its session was closed."""
    return UsageError("the session is closed", "open another one with Bundle.session()")


def as_int64(array: Array) -> Array:
    """The array as contiguous int64, without a copy where it already is."""
    return np.ascontiguousarray(array, dtype=np.int64)
