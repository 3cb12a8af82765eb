"""`bertc diff`."""

from __future__ import annotations

from pathlib import Path

import click

from targets.cli.completing import complete_folders
from targets.cli.options import BundleArgument, key_option, print_json, print_text


@click.command("diff", short_help="Put two bundles side by side.")
@click.argument("a", type=click.Path(path_type=Path), shell_complete=complete_folders)
@click.argument("b", type=click.Path(path_type=Path), shell_complete=complete_folders)
@click.option("--all", "everything", is_flag=True, help="Show what is equal as well, as --json does.")
@key_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff_command(a: Path, b: Path, everything: bool, key: Path | None, as_json: bool) -> None:
    """Put the bundles A and B side by side: what differs in how they were compiled, and what came of it.

    The manifests are checked and no model is loaded: what is shown is what the two compiles recorded. A
    change is B against A. Times are from the reports; for a comparison that holds, run `bertc bench` of both
    on the device. With --key, both must be signed by it. The exit code is 0 whether they differ or not.
    """
    from targets.cli.diff_text import lines
    from targets.diff.compare import compare

    found = compare(*(BundleArgument(path, key=key).open() for path in (a, b)))
    if as_json:
        print_json(found.to_json())
        return
    for line in lines(found, everything):
        print_text(line)
