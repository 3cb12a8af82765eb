"""Where two bundles compute the products of the encoder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Final

from targets.bundle.schema import Manifest
from targets.diff.rows import ABSENT, Row, table, tables

_LAYER: Final = re.compile(r"layer([0-9]{1,6})\.(.+)")


def product_rows(a: Manifest, b: Manifest) -> list[Row]:
    """A row for all products that are computed in one way by A and in one way by B.

    Products that one operator computes together, as query+key+value, are taken apart, so that they can be
    compared with those that are not. Where one bundle has no placement, those in float are all that there is.
    """
    placed = a.placement is not None and b.placement is not None
    one, other = _computed(a, placed), _computed(b, placed)
    groups: dict[tuple[str | None, str | None], list[str]] = {}
    for role in sorted({**one, **other}, key=_place):
        groups.setdefault((one.get(role), other.get(role)), []).append(role)
    return [
        Row(
            where(roles),
            ABSENT if both[0] is None else both[0],
            ABSENT if both[1] is None else both[1],
            absent="not listed",
            roles=tuple(roles),
        )
        for both, roles in groups.items()
    ]


def where(roles: Iterable[str]) -> str:
    """Products in words, layers that have the same of them together: "layers 0-5: query, key"."""
    by_layer: dict[int, list[str]] = {}
    outside = []
    for role in roles:
        match = _LAYER.fullmatch(role)
        if match is None:
            outside.append(role)
        else:
            by_layer.setdefault(int(match[1]), []).append(match[2])
    by_names: dict[tuple[str, ...], list[int]] = {}
    for layer, names in by_layer.items():
        by_names.setdefault(tuple(names), []).append(layer)
    parts = [f"{_layers(layers)}: {', '.join(names)}" for names, layers in by_names.items()]
    return "; ".join([*parts, *outside])


def _computed(manifest: Manifest, placed: bool) -> dict[str, str]:
    """How each product is computed: by the placement, or what the plan leaves in float."""
    found: dict[str, dict[str, int]] = {}
    for role, how in _placed(manifest) if placed else _planned(manifest):
        ways = found.setdefault(role, {})
        ways[how] = ways.get(how, 0) + 1
    return {
        role: "; ".join(how if count == 1 else f"{count} x {how}" for how, count in sorted(ways.items()))
        for role, ways in found.items()
    }


def _planned(manifest: Manifest) -> Iterator[tuple[str, str]]:
    for each in tables(table(manifest.compression, "quantization"), "float"):
        yield str(each.get("role")), f"float: {each.get('reason')}"


def _placed(manifest: Manifest) -> Iterator[tuple[str, str]]:
    if manifest.placement is None:
        return
    for group in manifest.placement.products:
        precision = "int8" if group.int8 else "float"
        for role in group.roles:
            names = _apart(role)
            together = f" for {len(names)} together" if len(names) > 1 else ""
            yield from ((name, f"{precision} by {group.kernel}{together}") for name in names)
    for kept in manifest.placement.kept_float:
        yield from ((name, f"float: {kept.reason}") for role in kept.roles for name in _apart(role))


def _apart(role: str) -> list[str]:
    layer, dot, names = role.rpartition(".")
    return [f"{layer}{dot}{name}" for name in names.split("+")]


def _place(role: str) -> tuple[int, str]:
    match = _LAYER.fullmatch(role)
    return (1 << 20, role) if match is None else (int(match[1]), "")


def _layers(layers: list[int]) -> str:
    """Numbers in words, ascending ones as a range."""
    parts = []
    for _, run in groupby(enumerate(layers), lambda each: each[1] - each[0]):
        numbers = [number for _, number in run]
        parts.append(str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}")
    return f"{'layer' if len(layers) == 1 else 'layers'} {', '.join(parts)}"
