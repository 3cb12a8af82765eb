"""What a shell offers of the host's while a command is typed."""

from __future__ import annotations

from contextlib import suppress

import click
from click.shell_completion import CompletionItem


def complete_emulated(_context: click.Context, _option: click.Parameter, typed: str) -> list[CompletionItem]:
    """CPUs that can be emulated, and targets that they stand for."""
    words: dict[str, str] = {}
    with suppress(Exception):
        from compiler.emulate.cpus import emulated_cpus
        from targets.registry import list_targets

        words.update((each.id, each.description) for each in emulated_cpus())
        words.update((each.id, each.description) for each in list_targets() if each.emulation is not None)
    return [CompletionItem(word, help=text) for word, text in words.items() if word.startswith(typed)]
