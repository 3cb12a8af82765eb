"""How `bertc bench --profile` prints a profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from targets.cli.options import print_text

if TYPE_CHECKING:
    from targets.runtime.profile.record import Roofline, ShapeProfile


def print_profile(found: ShapeProfile) -> None:
    """A table of the kinds of operators, and the roofline under it."""
    print_text(
        f"\n{found.batch}x{found.length}: {found.wall_ms:.2f} ms a run, {found.observed_ms:.2f} ms observed"
    )
    width = max([len(each.kind) for each in found.kinds] + [len("outside of operators")])
    print_text(f"{'operator':<{width}} {'count':>6} {'ms':>9} {'share':>7}")
    for each in found.kinds:
        print_text(f"{each.kind:<{width}} {each.count:6d} {each.ms:9.3f} {found.share(each.ms):7.1%}")
    share = found.share(found.outside_ms)
    print_text(f"{'outside of operators':<{width}} {'':>6} {found.outside_ms:9.3f} {share:7.1%}")
    if found.roofline is not None:
        _print_roofline(found, found.roofline)


def _print_roofline(found: ShapeProfile, line: Roofline) -> None:
    print_text(
        f"INT8 products: {line.macs / 1e9:.3f} GMAC in {line.ms:.3f} ms, {line.reached / 1e9:.0f} GMAC/s: "
        f"{line.reached / line.same_rows:.0%} of one such product by itself ({line.same_rows / 1e9:.0f}), "
        f"{line.reached / line.best:.0%} of the best here ({line.best / 1e9:.0f})"
    )
    print_text(
        f"at the best rate they alone would take {line.least_ms:.3f} ms, "
        f"{line.least_ms / found.wall_ms:.0%} of a run"
    )
