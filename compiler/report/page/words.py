"""Numbers and names as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

ABSENT: Final = "not measured"
NOTHING: Final = "\u2013"
"""In a table, where a column does not apply."""
MINUS: Final = "\u2212"
_ELLIPSIS: Final = "\u2026"
_JOINED: Final = "\u00a0"
_LONGEST: Final = 400
_NAME: Final = 120
# Control characters are no part of HTML or XML; overrides and isolates would reorder what follows them.
_UNSAFE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def clean(text: str) -> str:
    """Text without the characters that a page must not have, each replaced by U+FFFD."""
    return _UNSAFE.sub("\ufffd", text)


def shorten(text: str, longest: int = _LONGEST) -> str:
    """Text on one line, cut to so many characters."""
    line = " ".join(clean(text).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + _ELLIPSIS


def name(text: str) -> str:
    """A name in a narrow place."""
    return shorten(text, _NAME)


def megabytes(size: int) -> str:
    """Bytes in MB of 10^6, or kB of 10^3."""
    if size == 0:
        return "0"
    return f"{size / 1e6:,.1f}{_JOINED}MB" if size >= 100_000 else f"{size / 1e3:,.1f}{_JOINED}kB"


def milliseconds(value: float) -> str:
    """Three to four digits; the unit is said elsewhere."""
    return f"{value:.3f}" if value < 1 else f"{value:,.2f}" if value < 100 else f"{value:,.1f}"


def metric(value: float | None, absent: str = ABSENT) -> str:
    """A metric to four decimals."""
    return absent if value is None else _finite(value, "{:.4f}")


def delta(value: float | None, absent: str = ABSENT) -> str:
    """A change of a metric, with its sign."""
    if value is None:
        return absent
    return "0.0000" if abs(value) < 0.00005 else _finite(value, "{:+.4f}")


def percent(share: float | None, absent: str = ABSENT) -> str:
    """A share from 0 to 1."""
    return absent if share is None else _finite(100 * share, "{:.2f}%")


def decibels(value: float | None) -> str:
    """A ratio in dB; the unit is said elsewhere."""
    return "no noise" if value is None else _finite(value, "{:.1f}")


def is_number(value: float | None) -> TypeGuard[float]:
    """Whether it was measured and is finite, so that it has a place in a plot."""
    return value is not None and math.isfinite(value)


def count(value: int, one: str, many: str = "") -> str:
    """As in `1 text`, `2 texts`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def change(before: int, after: int | None) -> str:
    """As in `12 → 8`; one number where they are equal."""
    if after is None:
        return f"{before:,} → removed"
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"


def plain(value: Any) -> str:
    """A value of a JSON record."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(each)}" for key, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(plain(each) for each in value) or "none"
    return f"{value:g}" if isinstance(value, float) else f"{value}"


def _finite(value: float, form: str) -> str:
    return form.format(value).replace("-", MINUS) if is_number(value) else "not finite"
