"""Help in sections: commands by what they are for, options by what they are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import click

_OTHERS: Final = "Options"
_KEY: Final = "bertc_section"


def name_section(params: Iterable[click.Parameter], section: str) -> None:
    """Say which heading of a command's help parameters stand below."""
    for each in params:
        setattr(each, _KEY, section)


class SectionedCommand(click.Command):
    """A command whose help has its options below the headings that `name_section` gave them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, section by section in the order of their first, those of none last."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for each in self.get_params(ctx):
            record = each.get_help_record(ctx) if isinstance(each, click.Option) else None
            if record is not None:
                sections.setdefault(getattr(each, _KEY, _OTHERS), []).append(record)
        others = sections.pop(_OTHERS, [])
        for title, records in (*sections.items(), (_OTHERS, others)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class SectionedGroup(click.Group):
    """A group that lists its commands by what they are for.

    Args:
        sections: the names of commands by heading; commands of none come last.
        **settings: as of a click.Group.
    """

    def __init__(self, *, sections: Mapping[str, Sequence[str]], **settings: object) -> None:
        super().__init__(**settings)  # type: ignore[arg-type]
        self._sections = sections

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, in the order of the help."""
        del ctx
        named = [name for names in self._sections.values() for name in names if name in self.commands]
        return [*named, *(name for name in self.commands if name not in named)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes a line for each command below its heading."""
        names = self.list_commands(ctx)
        width = max(map(len, names))
        limit = formatter.width - 6 - width
        placed = {name for each in self._sections.values() for name in each}
        others = [name for name in names if name not in placed]
        for title, section in (*self._sections.items(), ("Others", others)):
            rows = [
                (f"{name:<{width}}", self.commands[name].get_short_help_str(limit))
                for name in section
                if name in self.commands
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
