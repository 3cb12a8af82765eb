"""`bertc doctor`, as a device has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from targets.cli.options import print_json, print_text

if TYPE_CHECKING:
    from targets.inventory import Inventory


@click.command("doctor", short_help="What this machine has, and what it can do for each target.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor_command(as_json: bool) -> None:
    """Show what this machine has, what it can do for each target, and what mends what is missing."""
    from targets.inventory import take_inventory

    show(take_inventory(), as_json)


def show(here: Inventory, as_json: bool) -> None:
    """Prints what a machine has and can do."""
    from targets.cli.doctor_report import document, lines

    if as_json:
        print_json(document(here))
        return
    for line in lines(here):
        print_text(line)
