"""Values of two bundles, and what changed between them, in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from targets.diff.compare import BundleDiff
from targets.diff.latency import SPEEDUP
from targets.diff.outcome import OF_BUNDLE
from targets.diff.rows import ABSENT, Kind, Row, number

_HASH: Final = re.compile(r"(?:sha256:)?([0-9a-f]{12})(?:[0-9a-f]{28}|[0-9a-f]{52})")
_WORDS: Final = {True: "yes", False: "no"}
_LONGEST: Final = 2000
_BYTES: Final = ((1e9, " GB"), (1e6, " MB"), (1e3, " kB"), (1, " B"))
_COUNTS: Final = ((1e9, "G"), (1e6, "M"))
_DIGITS: Final = 1
_SMALL: Final = 0.01
_SAME: Final = "="


def shown(row: Row, value: Any) -> str:
    """One value of a row: hashes by their first 12 digits, numbers with their unit."""
    if value is ABSENT:
        return row.absent
    if row.kind == "interval" and isinstance(value, list) and None not in map(number, value):
        return " to ".join(f"{each:+.4f}" for each in value)
    if row.kind == "speedup" and isinstance(value, list):
        return "{:.2f}x ({:.2f} to {:.2f})".format(*value)
    found = number(value)
    return _plain(value) if found is None else _number(found, value, row.kind)


def change(row: Row) -> str:
    """How B is against A; empty where the two values say it themselves."""
    if row.equal:
        return _SAME
    if row.kind in ("interval", "speedup"):
        return _told_apart(row.a, row.b) if row.kind == "speedup" and row.comparable else ""
    if isinstance(row.a, list) and isinstance(row.b, list) and row.a and row.b:
        return _other_items(row.a, row.b)
    difference, ratio = row.difference, row.ratio
    if difference is None:
        return ""
    if row.kind == "ms" and ratio:
        return _faster(ratio)
    if row.kind == "share":
        return f"{100 * difference:+.2f} points"
    if row.kind == "score":
        return f"{difference:+.4f}"
    sign = "-" if difference < 0 else "+"
    amount = f"{sign}{_number(abs(difference), int(abs(difference)), row.kind)}"
    if not ratio:
        return amount
    return f"{amount}, {ratio:.2f}x" if ratio >= _SMALL else f"{amount}, {ratio:.1g}x"


def summary(found: BundleDiff) -> Iterator[tuple[str, str]]:
    """What B brings against A: size, accuracy and latency, each in a line."""
    sections = {each.name: each for each in found.sections}
    model = _row(sections["sizes"].rows, "model")
    if model is not None:
        yield "model", f"{_both(model)} ({'the same size' if model.equal else change(model)})"
    metric = next((each for each in sections["accuracy"].rows if each.label.endswith(OF_BUNDLE)), None)
    if metric is None:
        yield "accuracy", "not validated"
    elif not metric.comparable:
        yield "accuracy", f"{_both(metric)}, which do not compare: see below"
    else:
        yield (
            metric.label.removesuffix(OF_BUNDLE),
            f"{_both(metric)} ({'the same' if metric.equal else change(metric)})",
        )
    yield _speed(sections["latency"].rows)


def _speed(rows: Sequence[Row]) -> tuple[str, str]:
    """What was timed in turns with FP32 if that compares, else a median."""
    speedup = next((each for each in rows if each.label.startswith(SPEEDUP) and each.known_of_both), None)
    if speedup is not None and speedup.comparable:
        return speedup.label, f"{_both(speedup)} ({'the same' if speedup.equal else change(speedup)})"
    times = [each for each in rows if each.label.startswith("p50 at ")]
    row = next((each for each in times if each.difference is not None), None)
    if row is None:
        return "latency", _no_times(times)
    return row.label, f"{_both(row)} ({'the same' if row.equal else change(row)}; not timed in turns)"


def _no_times(rows: Sequence[Row]) -> str:
    """Why there are no times to compare."""
    one = any(each.a is not ABSENT for each in rows)
    other = any(each.b is not ABSENT for each in rows)
    if not one and not other:
        return "neither bundle records times"
    return "no times that compare" if one and other else f"{'A' if one else 'B'} alone records times"


def _row(rows: Sequence[Row], label: str) -> Row | None:
    return next((each for each in rows if each.label == label), None)


def _both(row: Row) -> str:
    return f"{shown(row, row.a)} -> {shown(row, row.b)}"


def _faster(ratio: float) -> str:
    return f"{1 / ratio:.2f}x faster" if ratio < 1 else f"{ratio:.2f}x slower"


def _told_apart(a: Any, b: Any) -> str:
    """Of two speed-ups with their intervals."""
    if not isinstance(a, list) or not isinstance(b, list):
        return ""
    if b[1] > a[2]:
        return "faster"
    return "slower" if b[2] < a[1] else "not told apart"


def _other_items(one: Sequence[Any], other: Sequence[Any]) -> str:
    before, after = ([_plain(each) for each in side[:_LONGEST]] for side in (one, other))
    known_before, known_after = set(before), set(after)
    gone = [f"-{each}" for each in before if each not in known_after]
    come = [f"+{each}" for each in after if each not in known_before]
    return ", ".join([*come, *gone])[:_LONGEST] or "another order"


def _number(found: float, value: Any, kind: Kind) -> str:
    for factor, unit in {"bytes": _BYTES, "count": _COUNTS}.get(kind, ()):
        if found >= factor:
            return f"{found / factor:,.{_DIGITS if factor > 1 else 0}f}{unit}"
    if kind == "ms":
        return f"{found:,.2f} ms"
    if kind == "share":
        return f"{100 * found:.2f}%"
    if kind == "score":
        return f"{found:.4f}"
    if isinstance(value, int):
        return f"{value:,}" if kind == "count" else str(value)[:_LONGEST]
    return f"{found:.6g}"


def _plain(value: Any) -> str:
    """Any JSON value on one line."""
    if isinstance(value, str):
        match = _HASH.fullmatch(value)
        return match[1] if match else value[:_LONGEST].replace("\n", "\\n")
    if isinstance(value, list):
        return ", ".join(_plain(each) for each in value[:_LONGEST])[:_LONGEST] or "none"
    if isinstance(value, dict):
        parts = (f"{key[:_LONGEST]} {_plain(each)}" for key, each in list(value.items())[:_LONGEST])
        return f"({', '.join(parts)})"[:_LONGEST]
    if value is None or isinstance(value, bool):
        return "none" if value is None else _WORDS[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)[:_LONGEST]
