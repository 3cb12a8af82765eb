"""What two compiles came to: sizes and accuracy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from targets.bundle.schema import ROLES, Manifest, model_files
from targets.diff.rows import Kind, Row, Section, beside, rows_of, table

OF_BUNDLE: Final = " of the bundle"
"""Ends the labels of what was measured of the bundles; the first is of the metric of the gate."""

_TEXTS: Final = ("seed", "text_column", "text_pair_column", "label_column")
_NAME: Final = re.compile(r"[A-Za-z0-9_]{1,32}")
_INTERVAL: Final = "each ci95 is of that bundle against FP32; none was measured of B against A"


def sizes(a: Manifest, b: Manifest) -> Section:
    """Bytes of the model, of the bundle without its manifest, and of the files of each role."""
    one, other = (_sizes(each) for each in (a, b))
    rows = [Row(label, size, other[label], "bytes") for label, size in one.items() if size or other[label]]
    return Section("sizes", tuple(rows))


def _sizes(manifest: Manifest) -> dict[str, int]:
    loaded = model_files(manifest.runtime)
    by_role = {f"files of role {role}": 0 for role in ROLES}
    for each in manifest.files:
        by_role[f"files of role {each.role}"] += each.size
    model = sum(each.size for each in manifest.files if each.path in loaded)
    return {"model": model, "whole bundle": sum(by_role.values()), **by_role}


def accuracy(a: Manifest, b: Manifest) -> Section:
    """What the validations of the compiles found, with the reasons why they do not compare, if any."""
    one, other = a.validation or {}, b.validation or {}
    missing = [name for name, each in (("A", one), ("B", other)) if not each]
    if missing:
        notes = ["neither was validated" if len(missing) == 2 else f"{missing[0]} was not validated"]
    else:
        notes = [f"not comparable: {each}" for each in _obstacles(a, b)]
    comparable = not notes
    rows = [
        beside(label, one, other, key, kind, comparable=comparable)
        for label, key, kind in _fields(_metric(one, other))
    ]
    rows += rows_of(table(one, "gate"), table(other, "gate"), "gate's")
    rows += _other_metrics(one, other, comparable)
    rows = [each for each in rows if each.known]
    between = comparable and any(each.kind == "interval" and not each.equal for each in rows)
    return Section("accuracy", tuple(rows), (*notes, *((_INTERVAL,) if between else ())))


def _metric(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The name of the metric that both are measured in."""
    names = {str(each["metric"]) for each in (one, other) if isinstance(each.get("metric"), str)}
    name = names.pop() if len(names) == 1 else ""
    return name if _NAME.fullmatch(name) else "metric"


def _fields(metric: str) -> tuple[tuple[str, str, Kind], ...]:
    """Label, key and kind of what stands in a validation."""
    return (
        ("metric", "metric", "value"),
        (f"{metric}{OF_BUNDLE}", "compiled", "score"),
        (f"{metric} of FP32", "baseline", "score"),
        ("bundle - FP32", "delta", "score"),
        ("ci95 of bundle - FP32", "ci95", "interval"),
        ("agreement with FP32", "agreement", "share"),
        ("texts", "n", "value"),
        ("evidence", "evidence", "value"),
        ("gate", "status", "value"),
        ("reason", "reason", "value"),
    )


def _other_metrics(one: Mapping[str, Any], other: Mapping[str, Any], comparable: bool) -> list[Row]:
    """Of the bundles, without the one that stands above."""
    both = table(one, "metrics", "compiled"), table(other, "metrics", "compiled")
    primary = {str(each.get("metric")) for each in (one, other)}
    return [
        beside(f"{key}{OF_BUNDLE}", *both, key, "score", comparable=comparable)
        for key in sorted({**both[0], **both[1]})
        if key not in primary
    ]


def _obstacles(a: Manifest, b: Manifest) -> Iterator[str]:
    """Why the metric of A and that of B were not measured on the same thing."""
    one, other = a.validation or {}, b.validation or {}
    if one.get("metric") != other.get("metric"):
        yield "other metrics"
    data = [table(each.provenance, "data", "evaluation").get("sha256") for each in (a, b)]
    if None in data:
        yield "the evaluation data are not recorded"
    elif data[0] != data[1]:
        yield "other evaluation data"
    if one.get("n") != other.get("n"):
        yield f"other texts: {one.get('n')} of A, {other.get('n')} of B"
    elif data[0] == data[1]:
        yield from _drawn(*(table(each.provenance, "config") for each in (a, b)))
    if one.get("labelled") != other.get("labelled"):
        yield "one was compared with labels, the other with FP32"
    if one.get("evidence") != other.get("evidence"):
        yield f"other evidence: {one.get('evidence')} of A, {other.get('evidence')} of B"


def _drawn(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[str]:
    """Options by which the same file gives other texts."""
    for key in _TEXTS:
        sampled = one.get("eval_samples") is not None or other.get("eval_samples") is not None
        if one.get(key) != other.get(key) and (key != "seed" or sampled):
            yield f"the texts were taken by another {key}"
