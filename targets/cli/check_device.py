"""`bertc check-device`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from targets.cli.options import BundleArgument, bundle_options, print_json, print_text

if TYPE_CHECKING:
    from targets.bundle.requirements import Requirement


@click.command("check-device", short_help="Compare what a bundle needs with what this machine has.")
@bundle_options
def check_device_command(bundle: BundleArgument, as_json: bool) -> None:
    """Compare what a bundle needs with what this machine has, before anything is loaded.

    Ends with 6 where something is missing, or with 7 where that is the runtime alone, and says which target
    to compile for instead.
    """
    from targets.bundle.requirements import compile_instead, target_instead
    from targets.detect import machine

    opened, here = bundle.open(), machine()
    manifest = opened.manifest
    found = opened.device_report(here)
    fits = all(each.ok for each in found)
    if as_json:
        print_json(
            {
                "ok": fits,
                "name": manifest.name,
                "target": manifest.target.id,
                "runtime": manifest.runtime.backend,
                "requirements": [asdict(each) for each in found],
                "instead": target_instead(found, manifest.target, here),
            }
        )
    else:
        print_text(f"{manifest.name}, compiled for {manifest.target.id} on {manifest.runtime.backend}")
        _table(found)
        print_text("this machine can run it" if fits else compile_instead(found, manifest.target, here))
    opened.check_device(here)


def _table(found: Sequence[Requirement]) -> None:
    rows = [("", "needs", "has", "")]
    rows += [(each.name, each.needs, each.has, "ok" if each.ok else "MISSING") for each in found]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=False)]
        print_text("  ".join([*cells, row[3]]).rstrip())
