"""Options and output that the device's commands share."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from targets.cli.completing import complete_folders

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle

# Within words of Persian and of Indic scripts, and within emoji.
_JOINERS = "\u200c\u200d"

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class BundleArgument:
    """The bundle that a command is given, and how it is known to be the right one.

    Attributes:
        path: of its folder.
        expect_id: of `--expect-id`.
        key: of `--key`.
    """

    path: Path
    expect_id: str | None = None
    key: Path | None = None

    def open(self) -> Bundle:
        """The bundle, open.

        Raises:
            UsageError, IntegrityError, MissingBackendError: as for `Bundle.open`.
        """
        from targets.bundle.reader import Bundle

        return Bundle.open(self.path, self.expect_id, key=self.key)


key_option = click.option(
    "--key",
    metavar="PUB",
    type=click.Path(path_type=Path),
    help="Refuse a bundle that is not signed by this Ed25519 key.",
)


def identity_options(function: Command) -> Command:
    """Adds `--expect-id` and `--key`."""
    return click.option(
        "--expect-id", metavar="SHA256", help="Refuse a bundle with another id (the sha256 of bundle.json)."
    )(key_option(function))


def bundle_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the argument BUNDLE, `--expect-id`, `--key` and `--json`; the function gets a `BundleArgument`."""

    @functools.wraps(function)
    def call(bundle: Path, expect_id: str | None, key: Path | None, **options: Any) -> Any:
        return function(bundle=BundleArgument(bundle, expect_id, key), **options)

    command = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(call)
    return click.argument("bundle", type=click.Path(path_type=Path), shell_complete=complete_folders)(
        identity_options(command)
    )


threads_option = click.option(
    "--threads", type=click.IntRange(min=0), help="Threads of one run; 0 for every physical core."
)


def print_json(document: object, *, compact: bool = False) -> None:
    """Prints one JSON document, on one line if `compact`, to stdout; what does not print is escaped."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(document, ensure_ascii=plain, allow_nan=False, indent=None if compact else 2)
    sys.stdout.write("\n".join(_printable(line) for line in text.split("\n")) + "\n")


def print_text(text: str) -> None:
    """Prints lines for people to stdout, whatever the terminal's encoding; what does not print is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    safe = "\n".join(_printable(line, _JOINERS) for line in text.split("\n"))
    sys.stdout.write(safe.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def _printable(line: str, others: str = "") -> str:
    """The line, with escapes as in JSON for all that does not print and is not among `others`."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() or char in others else _escaped(char) for char in line)


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1]
