"""`bertc doctor`, as a host has it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import click

from targets.cli.doctor import show

if TYPE_CHECKING:
    from targets.inventory import Emulator


@click.command("doctor", short_help="What this machine has, and what it can do for each target.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor_command(as_json: bool) -> None:
    """Show what this machine has, what it can do for each target, and what mends what is missing.

    Every target can be compiled for on any host. What a validation here can then show is "measured" where
    the device is this machine, "emulated" where an emulator runs the device's own kernels, and "simulated"
    where the device's arithmetic or graph is computed on this CPU.
    """
    from targets.inventory import take_inventory

    show(replace(take_inventory(), emulators=emulators()), as_json)


def emulators() -> tuple[Emulator, ...]:
    """Every CPU that can be emulated; one that cannot be looked at says why."""
    from compiler.emulate.cpus import emulated_cpus
    from compiler.emulate.readiness import missing
    from targets.inventory import Emulator, asked

    return tuple(
        Emulator(each.id, each.description, each.userland, asked(partial(missing, each.userland), str))
        for each in emulated_cpus()
    )
