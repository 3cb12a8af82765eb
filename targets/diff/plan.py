"""What two compiles decided: what is INT8, what is cut, and what the runtime makes of it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from targets.bundle.schema import Manifest
from targets.diff.products import product_rows
from targets.diff.pruning import pruning_rows, structure_rows
from targets.diff.rows import Row, Section, beside, rows_of, table

_COUNTS: Final = (
    ("linear layers in INT8", "int8_linears"),
    ("attention products in INT8", "int8_attentions"),
    ("embedding tables in INT8", "int8_tables"),
    ("products left in float", "float"),
)


def plan(a: Manifest, b: Manifest) -> Section:
    """Quantization, pruning, products, operators and engines."""
    one, other = (dict(table(each.compression, "quantization")) for each in (a, b))
    for each in (one, other):
        if isinstance(each.get("float"), list):
            each["float"] = len(each["float"])
    rows = rows_of(table(one, "scheme"), table(other, "scheme"), "scheme's")
    rows += [beside(label, one, other, key, "count") for label, key in _COUNTS]
    rows += rows_of(table(a.compression, "smoothing"), table(b.compression, "smoothing"), "smoothing's")
    rows += [*pruning_rows(a, b), *structure_rows(a, b), *product_rows(a, b)]
    operators, notes = _operators(a, b)
    return Section("plan", tuple(each for each in (*rows, *operators, *_engine(a, b)) if each.known), notes)


def _operators(a: Manifest, b: Manifest) -> tuple[list[Row], tuple[str, ...]]:
    """A row for each kind of operator, or for all together where two runtimes name them in their own ways."""
    if a.placement is None or b.placement is None:
        old = [name for name, each in (("A", a), ("B", b)) if each.placement is None]
        return [], tuple(f"{name} does not record where products and operators run" for name in old)
    one, other = a.placement.operators, b.placement.operators
    if a.runtime.backend != b.runtime.backend:
        total = sum(one.values()), sum(other.values())
        row = Row("operators in all", *total, "count", comparable=False)
        return [row], ("each runtime has operators of its own: their kinds are not compared",)
    return [
        Row(f"operator {name}", one.get(name, 0), other.get(name, 0), "count")
        for name in sorted({**one, **other})
    ], ()


def _engine(a: Manifest, b: Manifest) -> list[Row]:
    one, other = ({} if each.engine is None else _plain(asdict(each.engine)) for each in (a, b))
    return rows_of(one, other, "engine's", absent="no engine")


def _plain(value: Any) -> Any:
    """Tuples as lists, as in JSON."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, tuple | list) else value
