"""The table of targets of `bertc doctor`, and under it the reasons, equal ones together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from targets.abilities import Ability
from targets.inventory import Inventory

_EVIDENCE: Final = (
    "evidence is the most that a validation shows here: measured on the device itself, emulated with its own "
    "kernels, or simulated on this CPU"
)
_SUMS: Final = "it runs here, but its 16-bit sums do not saturate on this CPU as they do on the device"


def table(found: Sequence[Ability], here: Inventory) -> Iterator[str]:
    """Its lines.

    Args:
        found: what the machine can do, by target.
        here: the machine.
    """
    width = max(len(each.target) for each in found)
    yield f"{'target':<{width}}  compile  run  emulate  evidence"
    for each in found:
        marks = [_mark(each.compile), _mark(each.run), _emulate(each, here)]
        cells = f"{marks[0]:<7}  {marks[1]:<3}  {marks[2]:<7}"
        yield f"{each.target:<{width}}  {cells}  {each.evidence or 'none'}"
    yield ""
    yield from _reasons(found, here)
    yield _EVIDENCE


def _mark(reason: str | None) -> str:
    return "no" if reason else "yes"


def _emulate(found: Ability, here: Inventory) -> str:
    """Yes, no, or that no emulator exists, which nothing mends."""
    if found.emulate is None:
        return "yes"
    return "no" if any(each.missing == found.emulate for each in here.emulators) else "-"


def _reasons(found: Sequence[Ability], here: Inventory) -> Iterator[str]:
    """A line for every reason, with the targets that have it and the way out."""
    grouped: dict[str, list[str]] = {}
    for each in found:
        for reason in _of_target(each, here):
            grouped.setdefault(reason, []).append(each.target)
    for reason, targets in grouped.items():
        yield f"{'every target' if len(targets) == len(found) else ', '.join(targets)}: {reason}"


def _of_target(found: Ability, here: Inventory) -> Iterator[str]:
    if found.compile is not None and not here.missing_packages:  # which are named above the table
        yield f"cannot compile: {found.compile}"
    if found.run is not None and found.run != found.compile:
        yield found.run + _way_out(found, here)
    if found.run is None and found.evidence != "measured" and not here.machine.emulated:
        yield _SUMS + _way_out(found, here)


def _way_out(found: Ability, here: Inventory) -> str:
    if found.emulate is None:
        return "; on an emulator here: `bertc validate BUNDLE --emulate ID`"
    if _emulate(found, here) == "no":
        return f"; for an emulator: {found.emulate.rpartition(': ')[2]}"
    return "; simulated on this CPU" if found.evidence == "simulated" else ""
