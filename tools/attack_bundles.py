"""Runs the corpus of hostile bundles and archives through the real commands, and prints what came of it.

    python -m tools.attack_bundles [--kind KIND] [--markdown]

Exit code 1 where something that must hold does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bundle_attacks.attack import Attack
from tests.bundle_attacks.registry import attacks
from tests.bundle_attacks.server import Outcome, client

_HEADER: Final = ("kind", "attack", "command", "exit", "what it says", "MiB more", "seconds")
_WIDTH: Final = 90


@dataclass(frozen=True)
class Row:
    """One command over one attack."""

    attack: Attack
    outcome: Outcome

    def cells(self) -> tuple[str, ...]:
        """As printed; memory to 5 MiB and time to a tenth of a second, which other runs come to as well."""
        found = self.outcome
        said = found.error.removeprefix("error: ")
        if found.code == 0:
            said = f"({self.attack.reason})"
        code = "ended" if found.code is None else str(found.code)
        memory = max(0, 5 * round(found.over_mb / 5))
        return (
            *(self.attack.kind, self.attack.name, found.command, code),
            *(
                said if len(said) <= _WIDTH else said[: _WIDTH - 3] + "...",
                str(memory),
                f"{found.seconds:.1f}",
            ),
        )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kind", help="this kind alone")
    parser.add_argument("--markdown", action="store_true", help="print a page for docs/")
    options = parser.parse_args(argv)
    chosen = [attack for attack in attacks() if options.kind in (None, attack.kind)]
    if not chosen:
        parser.error(
            f"there is no kind {options.kind!r}: {', '.join(dict.fromkeys(a.kind for a in attacks()))}"
        )
    rows = run(chosen)
    sys.stdout.write(page(rows) if options.markdown else plain(rows))
    wrong = [row for row in rows if row.outcome.problems]
    for row in wrong:
        print(f"{row.attack.id} [{row.outcome.command}]: {'; '.join(row.outcome.problems)}", file=sys.stderr)
    return 1 if wrong else 0


def run(chosen: Iterable[Attack]) -> list[Row]:
    """Runs attacks one after another in processes forked from one."""
    with tempfile.TemporaryDirectory(prefix="bertc-attacks-") as folder, client(Path(folder)) as server:
        return [Row(attack, outcome) for attack in chosen for outcome in server.run(attack.id)]


def counts(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Attacks, commands and exit codes by kind, and a last row of all."""
    kinds = dict.fromkeys(row.attack.kind for row in rows)
    table = [_count(kind, [row for row in rows if row.attack.kind == kind]) for kind in kinds]
    return [*table, _count("all", rows)]


def _count(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    codes = Counter(row.outcome.code for row in rows)
    wrong = sum(bool(row.outcome.problems) for row in rows)
    numbers = [codes.pop(5, 0), codes.pop(6, 0), codes.pop(2, 0), codes.pop(0, 0), wrong]
    return name, str(len({row.attack.id for row in rows})), str(len(rows)), *map(str, numbers)


_COUNTS: Final = ("kind", "attacks", "commands", "5", "6", "2", "harmless", "not as it must be")


def plain(rows: Sequence[Row]) -> str:
    """The table for a terminal."""
    table = [_HEADER, *(row.cells() for row in rows)]
    widths = [max(len(line[place]) for line in table) for place in range(len(_HEADER))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in table]
    lines += ["", *("  ".join(cell.ljust(17) for cell in line).rstrip() for line in (_COUNTS, *counts(rows)))]
    return "\n".join(lines) + "\n"


def page(rows: Sequence[Row]) -> str:
    """The same as Markdown: the counts, then a table for each kind."""
    parts = [_markdown(_COUNTS, counts(rows))]
    for kind in dict.fromkeys(row.attack.kind for row in rows):
        own = [row.cells()[1:] for row in rows if row.attack.kind == kind]
        parts.append(f"## {kind[0].upper()}{kind[1:]}\n\n" + _markdown(_HEADER[1:], own))
    return "\n".join(parts)


def _markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *([_escaped(cell) for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _escaped(cell: str) -> str:
    text = cell.replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")
    return text.replace("`", "\\`").replace("[", "\\[").replace("_", "\\_").replace("~", "\\~")


if __name__ == "__main__":
    sys.exit(main())
