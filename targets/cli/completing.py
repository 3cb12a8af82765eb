"""What a shell offers while a command is typed: quick, and nothing where something is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import click
from click.shell_completion import CompletionItem

Completer: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_files(_context: click.Context, _option: click.Parameter, typed: str) -> list[CompletionItem]:
    """Files and folders, as the shell itself finds them."""
    return [CompletionItem(typed, type="file")]


def complete_folders(_context: click.Context, _option: click.Parameter, typed: str) -> list[CompletionItem]:
    """Folders, as bundles are."""
    return [CompletionItem(typed, type="dir")]


def complete_targets(_context: click.Context, _option: click.Parameter, typed: str) -> list[CompletionItem]:
    """Ids of targets and profiles that are here; files where nothing else begins so."""
    from targets.registry import NATIVE, list_targets

    ids = {NATIVE: "the target that this machine is"}
    with suppress(Exception):
        ids.update((each.id, each.description) for each in list_targets())
    found = _beginning(typed, ids.items())
    with suppress(OSError):
        found += _beginning(typed, ((path.name, "a profile") for path in sorted(Path().glob("*.toml"))))
    return found or [CompletionItem(typed, type="file")]


def among(*values: str) -> Completer:
    """Completes one of some words, where others may be given as well."""

    def complete(_context: click.Context, _option: click.Parameter, typed: str) -> list[CompletionItem]:
        return _beginning(typed, ((value, None) for value in values))

    return complete


def _beginning(typed: str, words: Iterable[tuple[str, str | None]]) -> list[CompletionItem]:
    return [CompletionItem(word, help=text) for word, text in words if word.startswith(typed)]
