"""`bertc bench`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from targets.cli.bench_profile import print_profile
from targets.cli.options import BundleArgument, bundle_options, print_json, print_text, threads_option

if TYPE_CHECKING:
    from targets.runtime.bench import BenchReport
    from targets.runtime.energy.measure import EnergyReport


@click.command("bench", short_help="Measure latency, load time, memory and energy.")
@bundle_options
@click.option("--shape", "shapes", multiple=True, metavar="BxL", help="Batch and tokens, as in 8x128.")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="Time spent on each shape.")
@click.option("--iterations", type=click.IntRange(min=1), help="Runs of each shape, instead of --seconds.")
@click.option("--profile", "profiled", is_flag=True, help="Also what each kind of operator takes.")
@threads_option
def bench_command(
    bundle: BundleArgument,
    as_json: bool,
    shapes: tuple[str, ...],
    seconds: float,
    iterations: int | None,
    profiled: bool,
    threads: int | None,
) -> None:
    """Measure latency, throughput, load time, memory and energy on this machine.

    Without --shape: 1x32, 1x128 and 8x128, no longer than the model reads. J/text is the energy of one text,
    all that the machine's counter or sensor sees; where there is none, the reason is printed. With --profile,
    the runtime times its own operators, and the INT8 products are compared with the fastest that this machine
    computes.
    """
    from targets.runtime.bench import bench, parse_shape

    opened = bundle.open()
    report = bench(
        opened,
        [parse_shape(shape) for shape in shapes] or None,
        seconds=seconds,
        iterations=iterations,
        threads=threads,
        profiled=profiled,
        progress=None if as_json or not sys.stderr.isatty() else _progress,
    )
    if as_json:
        print_json(report.to_dict())
    else:
        _print_bench(report)


def _progress(done: int, total: int) -> None:
    click.echo(f"\r{done}/{total} shapes", err=True, nl=done == total)


def _print_bench(report: BenchReport) -> None:
    if report.emulated:
        shapes = ", ".join(f"{row.batch}x{row.length}" for row in report.shapes)
        print_text(f"ran {shapes} on emulated {report.emulated}")
        print_text("times under emulation mean nothing and are not reported")
        return
    measured = report.energy.source is not None
    header = f"{'shape':>9} {'p50 ms':>9} {'p95 ms':>9} {'p99 ms':>9} {'texts/s':>9}"
    print_text(f"{header} {'J/text':>9}" if measured else header)
    for row in report.shapes:
        shape = f"{row.batch}x{row.length}"
        line = f"{shape:>9} {row.p50_ms:9.2f} {row.p95_ms:9.2f} {row.p99_ms:9.2f} {row.texts_per_s:9.1f}"
        joules = "-" if row.energy_j is None else f"{row.energy_j:.4g}"
        print_text(f"{line} {joules:>9}" if measured else line)
    for found in report.profile or ():
        print_profile(found)
    print_text(f"load {report.load_s:.3f} s, first run {report.first_run_s:.3f} s, {report.rss_mb:.0f} MiB")
    print_text(f"energy  {_energy(report.energy)}")


def _energy(energy: EnergyReport) -> str:
    if energy.source is None:
        return f"not measured: {energy.reason}"
    idle = "" if energy.idle_w is None else f"; {energy.idle_w:.2f} W idle"
    gap = f"; not all was measured: {energy.reason}" if energy.reason else ""
    return f"{energy.source}{idle}{gap}"
