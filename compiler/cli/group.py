"""The command `bertc`: the device's commands and the host's, none of which imports more than it uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import click

from compiler.cli.compile import compile_command
from compiler.cli.config import config_command
from compiler.cli.demo import demo_command
from compiler.cli.doctor import doctor_command
from compiler.cli.emulator import emulator_command
from compiler.cli.inspect import inspect_command
from compiler.cli.sections import SectionedGroup
from compiler.cli.validate import validate_command
from targets import __version__
from targets.cli import DEVICE_COMMANDS

_HOST_COMMANDS = (compile_command, config_command, validate_command, emulator_command, demo_command)
_INSTEAD = (inspect_command, doctor_command)
"""The host's forms of device commands, in whose places they stand."""


SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "Compile": ("compile", "config", "validate", "demo"),
    "Look": ("inspect", "diff", "targets", "doctor"),
    "Ship": ("keygen", "sign", "pack", "unpack"),
    "On the device": ("check-device", "verify", "selftest", "run", "bench", "tune", "build"),
    "Without the device": ("emulator",),
    "Shell": ("completion",),
}
"""The commands by what they are for, in the order in which they are used."""


def make_group() -> click.Group:
    """The command with all its subcommands."""
    commands = {str(each.name): each for each in (*_HOST_COMMANDS, *DEVICE_COMMANDS, *_INSTEAD)}
    group = SectionedGroup(
        sections=SECTIONS,
        name="bertc",
        commands=commands,
        help="Compile BERT-family checkpoints into verified bundles for edge devices, and run them.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    return click.version_option(__version__, prog_name="bertc")(group)
