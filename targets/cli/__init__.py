"""The commands that a device has; `compiler.cli` adds the host's."""

from __future__ import annotations

import click

from targets.cli.bench import bench_command
from targets.cli.build import build_command
from targets.cli.check import selftest_command, verify_command
from targets.cli.check_device import check_device_command
from targets.cli.completion import completion_command
from targets.cli.diff import diff_command
from targets.cli.doctor import doctor_command
from targets.cli.inspect import inspect_command
from targets.cli.pack import pack_command, unpack_command
from targets.cli.run import run_command
from targets.cli.sign import keygen_command, sign_command
from targets.cli.targets import targets_command
from targets.cli.tune import tune_command

__all__ = ["DEVICE_COMMANDS", "device_group"]

DEVICE_COMMANDS: tuple[click.Command, ...] = (
    run_command,
    verify_command,
    keygen_command,
    sign_command,
    pack_command,
    unpack_command,
    check_device_command,
    selftest_command,
    bench_command,
    tune_command,
    inspect_command,
    diff_command,
    targets_command,
    doctor_command,
    build_command,
    completion_command,
)


def device_group() -> click.Group:
    """The command `bertc` with the device's commands alone."""
    return click.Group("bertc", commands={str(command.name): command for command in DEVICE_COMMANDS})
