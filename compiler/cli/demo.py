"""`bertc demo`."""

from __future__ import annotations

from pathlib import Path

import click

from compiler.cli.host import require_host
from compiler.cli.options import folder, verbose_option
from targets.cli.options import print_json


@click.command("demo", short_help="Compile real weights for this machine and compare.")
@folder("--output", "-o", help="Keep the bundle here.  [default: removed at the end]")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Threads; 0 for every core.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there.")
@verbose_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and no progress.")
def demo_command(output: Path | None, threads: int, force: bool, verbose: bool, as_json: bool) -> None:
    """Compile all-MiniLM-L6-v2 for this machine and compare it with FP32: size, fidelity, latency."""
    require_host()
    from compiler.cli.console import console_progress
    from compiler.cli.demo_report import print_demo

    with console_progress(quiet=as_json, verbose=verbose) as progress:
        # Importing torch takes seconds.
        from compiler.demo import run_demo

        result = run_demo(output, threads=threads, force=force, progress=progress)
    if as_json:
        print_json(result.to_json())
    else:
        print_demo(result)
