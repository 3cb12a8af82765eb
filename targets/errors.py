"""Errors that a user can act on, each with the exit code of the command line."""

from __future__ import annotations

from typing import ClassVar, Final

INTERRUPTED: Final = 130
"""The exit code after Ctrl-C."""


class BertcError(Exception):
    """What is wrong in one line, and what to do next in another.

    Args:
        message: one line saying what is wrong.
        hint: one line saying what to do next; empty when there is nothing to do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InternalError(BertcError):
    """A defect of bertc itself."""

    exit_code = 1


class UsageError(BertcError):
    """An option, a path or a data file that cannot be used as given."""

    exit_code = 2


class UnsupportedError(BertcError):
    """A model, task or configuration that bertc does not compile."""

    exit_code = 3


class AccuracyGateError(BertcError):
    """The compiled artifact lost more accuracy than the gate allows."""

    exit_code = 4


class IntegrityError(BertcError):
    """A bundle whose bytes are not what its manifest says."""

    exit_code = 5


class IncompatibleError(BertcError):
    """A bundle that this device or this runtime version cannot run."""

    exit_code = 6


class FailedRunError(IncompatibleError):
    """A model or a tokenizer that loads, and fails on what it is given."""


class MissingBackendError(BertcError):
    """A runtime package that is not installed."""

    exit_code = 7
