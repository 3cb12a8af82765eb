"""The page of `tools.devices`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compiler.validate import Validation

HEAD = """\
# Devices that are not here

Made by the command below. The same {samples} texts run through every bundle: on this machine where it is
the target, and else the real bundle in the device's real runtime under QEMU's user mode, as
`bertc validate --emulate` does. "Predicted" is the exact integer reference, with the 16-bit sums of CPUs
without VNNI. Agreement and mean squared error of the outputs are those with FP32; then follow agreement
and the largest difference of an output with that reference. Nothing is timed under emulation.

    {command}

{machine}

"""
COLUMNS = ("FP32 agrees", "MSE to FP32", "reference agrees", "largest gap")
"""After the model, where it ran, how that shows anything, and the metric."""
WIDTH = 110


@dataclass(frozen=True, slots=True)
class Row:
    """One model on one CPU.

    Attributes:
        model: in the table.
        where: runtime and CPU.
        evidence: measured, emulated or predicted.
        validation: against FP32.
        apart: distance from FP32.
        integers: distance from the integer reference; None for the reference itself and for others' models.
    """

    model: str
    where: str
    evidence: str
    validation: Validation
    apart: Mapping[str, float | None]
    integers: Mapping[str, float | None] | None


def page(rows: Sequence[Row], samples: int, environment: Mapping[str, Any]) -> str:
    """The whole page, in Markdown."""
    lines = [("model", "where", "evidence", rows[0].validation.metric, *COLUMNS), *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = tuple("-" * width for width in widths)
    table = "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |"
        for line in (lines[0], rule, *lines[1:])
    )
    baseline = rows[0].validation.baseline
    first = "" if baseline is None else f"FP32: {rows[0].validation.metric} {baseline:.4f}.\n\n"
    head = HEAD.format(samples=samples, command=environment["command"], machine=_where(environment))
    return head + first + table + "\n"


def _where(environment: Mapping[str, Any]) -> str:
    machine, versions = environment["machine"], environment["versions"]
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    qemu = f"QEMU {environment['qemu']}; " if environment["qemu"] else ""
    told = (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['os']}; Python {machine['python']}, "
        f"{listed}; {qemu}{environment['date'][:10]}."
    )
    return textwrap.fill(told, WIDTH, break_long_words=False, break_on_hyphens=False)


def _cells(row: Row) -> tuple[str, ...]:
    found = row.validation
    metric = "" if found.compiled is None else f"{found.compiled:.4f}"
    exact = ("", "")
    if row.integers is not None:
        exact = (_percent(row.integers["agreement"]), _number(row.integers["max_abs"]))
    return (
        row.model,
        row.where,
        row.evidence,
        metric,
        _percent(row.apart["agreement"]),
        _number(row.apart["mse"]),
        *exact,
    )


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}%"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
