"""What the demo found, on a terminal."""

from __future__ import annotations

import textwrap
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from compiler.demo import DemoResult
from compiler.demo.search import Search

_OTHER_COLUMNS: Final = 30
_LEAST_WIDTH: Final = 24


def print_demo(result: DemoResult) -> None:
    """Size, fidelity, latency and some searches, to stdout."""
    console = Console(soft_wrap=True, highlight=False)
    console.print(_summary(result))
    console.print(_latency(result))
    if result.rough:
        console.print("these latencies are rough: something else was using the cores; run it again when idle")
    for each in result.searches:
        console.print(_search(each, max(_LEAST_WIDTH, console.width - _OTHER_COLUMNS)))
    if result.kept:
        console.print(f"{escape(str(result.bundle.path))}")
        console.print(f'try: bertc run {escape(str(result.bundle.path))} --text "..."')
    else:
        console.print("the bundle was removed; keep it with: bertc demo -o DIR")


def _summary(result: DemoResult) -> Table:
    bundle, fidelity = result.bundle, result.fidelity
    table = Table(show_header=False, title=f"{result.model}, compiled for this machine", title_justify="left")
    table.add_column(style="bold")
    table.add_column()
    before, after = bundle.source_bytes / 1e6, bundle.model_bytes / 1e6
    table.add_row("target", f"{bundle.target}, {bundle.precision} on {bundle.runtime}")
    table.add_row("size", f"{before:.1f} MB -> {after:.1f} MB ({before / after:.1f}x smaller)")
    table.add_row("cosine to FP32", f"{fidelity.mean_cosine:.4f} mean, {fidelity.least_cosine:.4f} least")
    table.add_row("overlap@10", f"{100 * fidelity.overlap_at_10:.1f}% of the 10 nearest passages are FP32's")
    table.add_row("agreement", f"{100 * fidelity.same_nearest:.1f}% have the same nearest passage")
    table.add_row("measured on", f"{fidelity.texts} passages of Python's documentation, not calibrated on")
    table.add_row("time", f"{result.seconds:.0f} s")
    return table


def _latency(result: DemoResult) -> Table:
    threads = f"{result.threads} thread{'s' if result.threads > 1 else ''}"
    table = Table(title=f"latency, {threads}, medians of interleaved runs", title_justify="left")
    table.add_column("texts x tokens")
    for name in ("torch FP32", "bundle", "faster", "95% interval"):
        table.add_column(name, justify="right")
    for each in result.latency:
        ratio = each.speedup
        table.add_row(
            f"{each.batch} x {each.tokens}",
            f"{each.fp32_ms:.1f} ms",
            f"{each.bundle_ms:.1f} ms",
            f"{ratio.value:.1f}x",
            f"{ratio.low:.1f} to {ratio.high:.1f}",
        )
    return table


def _search(found: Search, width: int) -> Table:
    table = Table(title=f'search: "{escape(found.query)}"', title_justify="left")
    table.add_column("FP32", no_wrap=True)
    table.add_column("bundle", no_wrap=True)
    table.add_column("passage", no_wrap=True)
    for hit in found.hits:
        table.add_row(
            f"{hit.fp32_rank}. {hit.fp32_cosine:.3f}",
            f"{hit.bundle_rank}. {hit.bundle_cosine:.3f}",
            escape(textwrap.shorten(hit.text, width, placeholder=" ...")),
        )
    return table
