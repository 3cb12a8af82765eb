"""`bertc targets`."""

from __future__ import annotations

from dataclasses import asdict

import click

from targets.cli.options import print_json, print_text
from targets.errors import IncompatibleError
from targets.spec import TargetSpec


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
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def show_command(outer: bool, target: str, as_json: bool) -> None:
    """Show one target: its id, `native`, or the path of a profile."""
    from targets.registry import get_target

    spec = get_target(target)
    if as_json or outer:
        print_json(asdict(spec))
    else:
        _show(spec)


def _list(as_json: bool) -> None:
    from targets.registry import list_targets

    specs, native = list_targets(), _native()
    if as_json:
        print_json({"targets": [asdict(spec) for spec in specs], "native": native})
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


def _show(spec: TargetSpec) -> None:
    features = " and ".join(" or ".join(group) for group in spec.cpu_features) or "none"
    print_text(f"{spec.id}: {spec.description}")
    print_text(f"machine   {spec.os} on {spec.arch}, {spec.memory_mb} MiB")
    print_text(f"features  {features}")
    if spec.shapes is not None:
        capabilities = " or ".join(spec.compute_capabilities) or "any"
        shapes = " / ".join(f"{batch}x{tokens}" for batch, tokens in spec.shapes.all)
        print_text(f"GPU       compute capability {capabilities}")
        print_text(f"shapes    {shapes} (batch x tokens: least, typical, largest)")
    print_text(f"threads   {spec.threads or 'all cores'}")
    print_text(f"evidence  {spec.evidence}")
    for profile in spec.runtimes:
        scheme = profile.scheme
        kind = "asymmetric" if scheme.asymmetric else "symmetric"
        print_text(
            f"{profile.name}: {kind} {scheme.activation} activations, weights to +-{scheme.weight_qmax}, "
            f"attention products {scheme.attention_products}, bias {scheme.bias}"
        )
        if spec.gpu:
            print_text(f"  --precision int8 is {scheme.form}")
        for key, value in sorted(profile.options.items()):
            print_text(f"  {key} = {value}")
