"""Whether a command line names subcommands, flags and choices that bertc has. Nothing is run."""

from __future__ import annotations

from collections.abc import Sequence

import click

ELLIPSIS = "..."


def complaint(group: click.Group, argv: Sequence[str]) -> str | None:
    """What is wrong with `bertc ARGV`, in click's words; None where nothing is.

    `...` stands for what a page leaves out: nothing is asked of what is required then.
    """
    given = [word for word in argv if word != ELLIPSIS]
    try:
        _check(
            group,
            click.Context(group, info_name="bertc", **group.context_settings),
            given,
            whole=given == list(argv),
        )
    except click.UsageError as error:
        return error.format_message()
    return None


def unknown_flags(group: click.Group, argv: Sequence[str]) -> list[str]:
    """The flags in `bertc ARGV` that the command lacks; for prose, which names parts of a command line."""
    command, rest = _resolve(group, list(argv))
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    known |= {"--help", "-h"}
    flags = (word.partition("=")[0] for word in rest)
    return [flag for flag in flags if flag.startswith("--") and len(flag) > 2 and flag not in known]


def _resolve(group: click.Group, argv: list[str]) -> tuple[click.Command, list[str]]:
    command: click.Command = group
    while isinstance(command, click.Group) and argv and argv[0] in command.commands:
        command, argv = command.commands[argv[0]], argv[1:]
    return command, argv


def _check(command: click.Command, context: click.Context, argv: list[str], *, whole: bool) -> None:
    values, rest, _ = command.make_parser(context).parse_args(list(argv))
    for option in command.params:
        value = values.get(option.name or "")
        if whole and option.required and not isinstance(value, str | tuple | list):
            raise click.MissingParameter(ctx=context, param=option)
        if isinstance(option.type, click.Choice) and isinstance(value, str):
            option.type.convert(value, option, context)
    if not isinstance(command, click.Group):
        if rest and not context.allow_extra_args:
            raise click.UsageError(f"{command.name} does not take {' '.join(rest)}", context)
    elif rest:
        inner = command.get_command(context, rest[0])
        if inner is None:
            raise click.UsageError(f"bertc has no command {rest[0]!r}", context)
        below = click.Context(inner, parent=context, info_name=inner.name, **inner.context_settings)
        _check(inner, below, rest[1:], whole=whole)
