"""The help of the commands: every command and option in it once, and in its place."""

from __future__ import annotations

import re

import click
import pytest

from compiler.cli.compile import compile_command
from compiler.cli.group import SECTIONS, make_group
from tests.support.compiling import bertc


def test_every_command_is_in_a_section_once() -> None:
    group = make_group()
    assert isinstance(group, click.Group)
    named = [name for names in SECTIONS.values() for name in names]
    assert sorted(named) == sorted(group.commands)
    out = bertc("--help").out
    assert [line.split()[0] for line in out.splitlines() if re.match(r"  [a-z][a-z-]+  +\S", line)] == named
    headings = [line.removesuffix(":") for line in out.splitlines() if re.fullmatch(r"\S.*:", line)]
    assert headings == ["Options", *SECTIONS]


def test_no_command_says_more_than_fits_a_line() -> None:
    for line in bertc("--help").out.splitlines():
        assert len(line) <= 80
        assert line.startswith("Usage:") or not line.endswith("...")


def test_every_option_of_a_compile_is_in_its_help_once() -> None:
    out = bertc("compile", "--help").out
    for each in compile_command.params:
        if isinstance(each, click.Option):
            (flag,) = [name for name in each.opts if name.startswith("--")]
            assert len(re.findall(rf"^  (?:-\w, )?{flag}\b(?![-\w])", out, re.MULTILINE)) == 1, flag
    assert (
        out.index("What to build:") < out.index("Pruning:") < out.index("Output:") < out.index("\nOptions:")
    )


@pytest.mark.parametrize("name", sorted(make_group().commands))  # type: ignore[attr-defined]
def test_help_at_every_level(name: str) -> None:
    ran = bertc(name, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith(f"Usage: bertc {name} ")
