"""`bertc build`."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from targets.cli.options import BundleArgument, bundle_options, print_json, print_text


@click.command("build", short_help="Build a bundle's TensorRT engine on this device.")
@bundle_options
@click.option("--force", is_flag=True, help="Build again what was built already.")
@click.option(
    "--version-compatible", is_flag=True, help="An engine that later versions of TensorRT run too; slower."
)
def build_command(bundle: BundleArgument, as_json: bool, force: bool, version_compatible: bool) -> None:
    """Build the TensorRT engine of a bundle on the device that runs it.

    Every variant of the bundle is built and has to pass the self-test; those that do are timed against each
    other, and the fastest is kept in the user's cache folder, for this GPU, driver and version of TensorRT.
    """
    from targets.runtime.engine.device_build import build_bundle

    opened = bundle.open()
    stored = build_bundle(opened, force=force, version_compatible=version_compatible, step=_tell)
    if as_json:
        print_json(asdict(stored))
        return
    for each in stored.variants:
        speed = "" if each.p50_ms is None else f", {each.p50_ms:.3f} ms a run"
        verdict = "self-test passed" if each.passed else "self-test FAILED"
        print_text(f"{each.precision:<12}  built in {each.build_s:.1f} s, {verdict}{speed}")
    print_text(f"kept          {stored.chosen}")


def _tell(precision: str, phase: str, done: int, steps: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[Kbuilding {precision}: {phase} {done}/{steps}", nl=False, err=True)
    elif done == 0:
        click.echo(f"building {precision}: {phase}", err=True)
