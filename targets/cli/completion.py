"""`bertc completion`."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import ShellComplete, get_completion_class

from targets.cli.options import print_json, print_text
from targets.errors import InternalError

PROGRAM: Final = "bertc"
VARIABLE: Final = "_BERTC_COMPLETE"
_PLACES: Final = {
    "bash": "~/.local/share/bash-completion/completions/bertc, or source it in ~/.bashrc; bash 4.4 or newer",
    "zsh": "a file _bertc in a folder of $fpath, or source it in ~/.zshrc after compinit",
    "fish": "~/.config/fish/completions/bertc.fish",
}


@click.command("completion", short_help="Print what makes a shell complete bertc's commands.")
@click.argument("shell", type=click.Choice(tuple(_PLACES)))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def completion_command(shell: str, as_json: bool) -> None:
    """Print the script that makes a shell complete commands, options, targets and bundles.

    Its top says where to put it. For this terminal alone: source <(bertc completion bash)
    """
    if as_json:
        print_json({"shell": shell, "script": script(shell)})
    else:
        print_text(script(shell))


def script(shell: str) -> str:
    """The script for bash, zsh or fish.

    Raises:
        InternalError: click has none for the shell.
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise InternalError(f"click cannot complete in {shell}", "install another version of click")
    made = kind(click.Command(PROGRAM), {}, PROGRAM, VARIABLE)
    lines = ShellComplete.source(made).strip().split("\n")
    # zsh reads the first line of a file in $fpath for what it completes.
    at = 1 if lines[0].startswith("#compdef") else 0
    return "\n".join([*lines[:at], f"# Put this into {_PLACES[shell]}.", *lines[at:]])
