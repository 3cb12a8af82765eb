"""What two compiles cut, and how large what is left is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

from targets.bundle.schema import Manifest
from targets.diff.rows import Row, beside, number, rows_of, table, tables

LENGTH: Final = 128

_MODULE: Final = re.compile(r"layer([0-9]{1,6})\.(heads|ffn)")
_WHAT: Final = {"heads": "heads", "ffn": "FFN neurons"}
_COEFFICIENTS: Final = 3
_DENSE: Final = "not pruned"

Widths: TypeAlias = dict[tuple[int, str], int]


def pruning_rows(a: Manifest, b: Manifest) -> list[Row]:
    """What each layer keeps; of a bundle that is not pruned, what its checkpoint has."""
    one, other = (table(each.compression, "pruning") for each in (a, b))
    if not one and not other:
        return []
    dense = _checkpoint(a), _checkpoint(b)
    if table(a.provenance, "files") == table(b.provenance, "files"):
        dense = {**_modules(other, "groups"), **dense[0]}, {**_modules(one, "groups"), **dense[1]}
    kept = _modules(one, "kept") or dense[0], _modules(other, "kept") or dense[1]
    names = sorted(
        {*_modules(one, "kept"), *_modules(other, "kept")}, key=lambda each: (each[0], each[1] == "ffn")
    )
    return [
        beside("encoder's FLOPs kept", one, other, "flops_kept", "share", absent=_DENSE),
        *(beside(f"layer {layer} {_WHAT[what]}", *kept, (layer, what), "count") for layer, what in names),
        beside("layers solved anew", one, other, "refitted", "count", absent=_DENSE),
        *rows_of(table(one, "declined"), table(other, "declined"), "not pruned,", absent=""),
    ]


def structure_rows(a: Manifest, b: Manifest) -> list[Row]:
    """Parameters, and FLOPs of a text of 128 tokens, or of as many as both read."""
    length = min(LENGTH, a.max_length, b.max_length)
    one, other = (dict(_totals(each, length)) for each in (a, b))
    return [beside(key, one, other, key, "count") for key in dict.fromkeys((*one, *other))]


def _modules(pruning: Mapping[str, Any], key: str) -> Widths:
    found = {}
    for each in tables(pruning, "modules"):
        match, width = _MODULE.fullmatch(str(each.get("name"))), number(each.get(key))
        if match is not None and width is not None:
            found[int(match[1]), match[2]] = int(width)
    return found


def _checkpoint(manifest: Manifest) -> Widths:
    """Heads and FFN neurons of every layer before the compile."""
    found = {}
    for each in tables(table(manifest.compression, "structure", "checkpoint"), "layers"):
        layer = number(each.get("layer"))
        for what in _WHAT:
            width = number(each.get(what))
            if layer is not None and width is not None:
                found[int(layer), what] = int(width)
    return found


def _totals(manifest: Manifest, length: int) -> Iterator[tuple[str, int]]:
    """Sums by label; none of what the record does not hold as compilers write it."""
    parts = list(_parts(table(manifest.compression, "structure", "bundle")))
    sums = {
        "parameters": [number(each.get("parameters")) for each in parts],
        f"FLOPs at {length} tokens": [_flops(each.get("flops"), length) for each in parts],
    }
    for label, values in sums.items():
        known = [each for each in values if each is not None]
        if known and len(known) == len(values) and math.isfinite(sum(known)):
            yield label, int(sum(known))


def _parts(structure: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (table(structure, key) for key in ("embeddings", "task_head") if key in structure)
    yield from tables(structure, "layers")


def _flops(coefficients: object, length: int) -> float | None:
    """Of a constant, a linear and a square part."""
    if not isinstance(coefficients, list) or len(coefficients) != _COEFFICIENTS:
        return None
    numbers = [number(each) for each in coefficients]
    terms = [each * length**power for power, each in enumerate(numbers) if each is not None]
    return sum(terms) if len(terms) == _COEFFICIENTS else None
