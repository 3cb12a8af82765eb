"""What two bundles record of one thing, and the sections that such rows make."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal, TypeAlias

Kind: TypeAlias = Literal["value", "count", "bytes", "ms", "share", "score", "interval", "speedup"]
"""What a number is: "count" an amount, "share" from 0 to 1, "score" a metric, "interval" two of them,
"speedup" how many times faster with its interval. "value", "interval" and "speedup" have no difference.
"""


class Absent(Enum):
    """Of what a bundle does not record, which is another thing than null."""

    ABSENT = "absent"


LONGEST_NAME: Final = 200
"""Of a name in a record, in characters."""
ABSENT: Final = Absent.ABSENT


@dataclass(frozen=True, slots=True)
class Row:
    """One thing beside itself.

    Attributes:
        label: what it is.
        a, b: JSON values as the bundles record them, or `ABSENT`.
        kind: what a number is.
        absent: what `ABSENT` means, in words.
        roles: the products that the row is of, where it is of products.
        comparable: whether a difference of the two means something.
    """

    label: str
    a: Any
    b: Any
    kind: Kind = "value"
    absent: str = "not recorded"
    roles: tuple[str, ...] = ()
    comparable: bool = True

    @property
    def equal(self) -> bool:
        """Whether both bundles say the same; null where the other records nothing is the same."""
        if self.a is ABSENT or self.b is ABSENT:
            return all(each is ABSENT or each is None for each in (self.a, self.b))
        return bool(self.a == self.b)

    @property
    def known(self) -> bool:
        """Whether one of the bundles records it."""
        return self.a is not ABSENT or self.b is not ABSENT

    @property
    def known_of_both(self) -> bool:
        """Whether both record it."""
        return self.a is not ABSENT and self.b is not ABSENT

    @property
    def difference(self) -> float | None:
        """B - A; None where they are no numbers that have one."""
        if self.kind in ("value", "interval", "speedup") or not self.comparable:
            return None
        a, b = number(self.a), number(self.b)
        return None if a is None or b is None else number(b - a)

    @property
    def ratio(self) -> float | None:
        """B / A of bytes, milliseconds and counts above 0; None for the rest."""
        a, b = number(self.a), number(self.b)
        if self.kind not in ("bytes", "ms", "count") or not self.comparable or not a or b is None or a < 0:
            return None
        return number(b / a)

    def to_json(self) -> dict[str, Any]:
        """`a` and `b` are left out where the bundle does not record them."""
        values = {key: value for key, value in (("a", self.a), ("b", self.b)) if value is not ABSENT}
        return {
            "label": self.label,
            "kind": self.kind,
            "equal": self.equal,
            **values,
            "difference": self.difference,
            "ratio": self.ratio,
            **({"roles": list(self.roles)} if self.roles else {}),
        }


@dataclass(frozen=True, slots=True)
class Section:
    """Rows of one subject.

    Attributes:
        name: of the subject, in one word.
        rows: in the order to show.
        notes: what to know before the rows are believed.
    """

    name: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def differing(self) -> tuple[Row, ...]:
        """The rows whose values are not the same."""
        return tuple(each for each in self.rows if not each.equal)

    def to_json(self) -> dict[str, Any]:
        """Every row, the equal ones too."""
        return {
            "equal": len(self.rows) - len(self.differing),
            "rows": [each.to_json() for each in self.rows],
            "notes": list(self.notes),
        }


def number(value: object) -> float | None:
    """A finite number of a record that may hold anything; None for the rest, booleans too."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def table(record: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """A table inside of tables that may hold anything; empty where it is none."""
    found: object = record
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def tables(record: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """The tables in a list of a record that may hold anything."""
    found = record.get(key)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested tables, keys joined by spaces; empty tables are left out.

    A table whose keys are longer than names are stays whole, so that labels do not outgrow the record.
    """
    found: dict[str, Any] = {}
    for key, value in record.items():
        label = f"{prefix} {key}" if prefix else key
        apart = isinstance(value, Mapping) and len(label) <= LONGEST_NAME
        found |= flat(value, label) if apart else {label: value}
    return found


def rows_of(
    a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "", *, absent: str = "not recorded"
) -> list[Row]:
    """A row for every key of either table, sorted, tables inside taken apart."""
    both = flat(a, prefix), flat(b, prefix)
    return [beside(key, *both, key, absent=absent) for key in sorted({**both[0], **both[1]})]


def beside(
    label: str,
    a: Mapping[Any, Any],
    b: Mapping[Any, Any],
    key: object,
    kind: Kind = "value",
    *,
    absent: str = "not recorded",
    comparable: bool = True,
) -> Row:
    """The row of one key of two tables."""
    return Row(label, a.get(key, ABSENT), b.get(key, ABSENT), kind, absent, comparable=comparable)
