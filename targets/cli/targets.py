"""`bertc targets`."""

from __future__ import annotations

from dataclasses import asdict

import click

from targets.cli.completing import among, complete_targets
from targets.cli.explain import explain, to_json
from targets.cli.options import print_json, print_text
from targets.errors import IncompatibleError
from targets.spec import RUNTIMES


@click.group("targets", invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def targets_command(context: click.Context, as_json: bool) -> None:
    """List the devices that bertc compiles for, or show one."""
    if context.invoked_subcommand is None:
        _list(as_json)
    else:
        context.obj = as_json


@targets_command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_command(outer: bool, as_json: bool) -> None:
    """List every target."""
    _list(as_json or outer)


@targets_command.command("show")
@click.argument("target", shell_complete=complete_targets)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_command(outer: bool, target: str, as_json: bool) -> None:
    """Show what one target is and why: its id, `native`, or the path of a .toml profile."""
    from targets.registry import get_target

    spec = get_target(target)
    if as_json or outer:
        print_json(to_json(spec))
        return
    for line in explain(spec):
        print_text(line)


@targets_command.command("requirements")
@click.argument("target", shell_complete=complete_targets)
@click.option(
    "--runtime", shell_complete=among(*RUNTIMES), help="Of the bundle.  [default: the target's first]"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def requirements_command(outer: bool, target: str, runtime: str | None, as_json: bool) -> None:
    """Print what a target's devices install, as pip reads it: every version, and the hash of every wheel.

    bertc targets requirements raspberry-pi-5 > requirements.txt
    """
    from targets.pins import device_pins
    from targets.registry import get_target

    spec = get_target(target)
    pins = device_pins(spec, None if runtime is None else spec.runtime(runtime).name)
    if as_json or outer:
        print_json({"target": spec.id, **asdict(pins)})
        return
    print_text(pins.text.rstrip("\n"))


def _list(as_json: bool) -> None:
    from targets.registry import list_targets

    specs, native = list_targets(), _native()
    if as_json:
        print_json({"targets": [to_json(spec) for spec in specs], "native": native})
        return
    width = max(len(spec.id) for spec in specs)
    names = {spec.id: ", ".join(profile.name for profile in spec.runtimes) for spec in specs}
    widest = max(map(len, names.values()))
    for spec in specs:
        print_text(f"{spec.id:<{width}}  {spec.arch:<8}  {names[spec.id]:<{widest}}  {spec.description}")
    print_text(f"native: {native or 'no target fits this machine'}")


def _native() -> str | None:
    from targets.registry import detect_native

    try:
        return detect_native().id
    except IncompatibleError:
        return None
