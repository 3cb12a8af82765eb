"""Options and output that the device's commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def bundle_options(function: Command) -> Command:
    """Adds the argument BUNDLE, `--expect-id` and `--json`."""
    function = click.option("--json", "as_json", is_flag=True, help="Print JSON.")(function)
    function = click.option(
        "--expect-id", metavar="SHA256", help="Refuse a bundle with another id (the sha256 of bundle.json)."
    )(function)
    return click.argument("bundle", type=click.Path(path_type=Path))(function)


threads_option = click.option(
    "--threads", type=click.IntRange(min=0), help="Threads of one run; 0 for every physical core."
)


def print_json(document: object, *, compact: bool = False) -> None:
    """Prints one JSON document, on one line if `compact`, to stdout."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(document, ensure_ascii=plain, allow_nan=False, indent=None if compact else 2)
    sys.stdout.write(text + "\n")


def print_text(text: str) -> None:
    """Prints text for people to stdout, whatever the terminal's encoding."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
