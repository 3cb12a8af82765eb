"""Times in the reports of two compiles, which are for people and may hold anything."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from targets.bundle.reader import Bundle
from targets.bundle.strict_json import parse_json
from targets.diff.rows import Kind, Section, beside, number, table, tables
from targets.errors import IntegrityError

METRICS: Final = "report/metrics.json"

SPEEDUP: Final = "speed-up over FP32 at "

_FP32: Final = "p50 of FP32 at "
_LEVEL: Final = 1.1
_MOST_BYTES: Final = 4 * 1024**2
_SHAPE: Final = re.compile(r"[0-9]{1,6}x[0-9]{1,6}")
_PERCENTILES: Final = ("p50", "p95", "p99")
_IN_TURNS: Final = (
    "the two compiles timed their bundles at different moments, not in turns: for a comparison that holds, "
    "run `bertc bench` (or `bertc tune`) of both on the idle device"
)
_OTHER_SPEED: Final = (
    "not comparable: the same FP32 model took another time, so the machine was slower or busier once; each "
    "speed-up over FP32 was measured in turns; `bertc bench` of both on the idle device tells more"
)
_NO_TIMES: Final = "records no times: it was compiled with --no-report, or elsewhere than on its target"
_OTHER_BASE: Final = (
    "the speed-ups do not compare: each is over FP32 of that bundle's own checkpoint, in its own runtime"
)

Times = dict[str, Any]


def latency(a: Bundle, b: Bundle) -> Section:
    """Milliseconds of a run, as each compile measured them on the machine that compiled.

    Raises:
        IntegrityError: a report is not what the manifest says.
    """
    both: list[Times] = []
    notes: list[str] = []
    for name, bundle in (("A", a), ("B", b)):
        report, problem = _report(bundle)
        both.append(_times(report, bundle))
        if problem or not both[-1]:
            notes.append(f"{name} {problem or _NO_TIMES}")
    one, other = both
    notes += [f"not comparable: {each}" for each in _obstacles(one, other)] if one and other else []
    same = not notes
    level = same and not _slower(one, other, a, b)
    if same and not level:
        notes.append(_OTHER_SPEED)
    one_base = _one_base(a, b)
    if same and not one_base and any(key.startswith(SPEEDUP) for key in one.keys() & other.keys()):
        notes.append(_OTHER_BASE)
    comparable = {"ms": level, "speedup": same and one_base}
    rows = [
        beside(key, one, other, key, _kind(key), comparable=comparable.get(_kind(key), True))
        for key in dict.fromkeys((*one, *other))
    ]
    timed = any(each.difference is not None for each in rows)
    return Section("latency", tuple(rows), (*notes, *((_IN_TURNS,) if timed else ())))


def _kind(key: str) -> Kind:
    return "speedup" if key.startswith(SPEEDUP) else "ms" if " at " in key else "value"


def _one_base(a: Bundle, b: Bundle) -> bool:
    """Whether FP32 is the same model in the same runtime."""
    files = [table(each.manifest.provenance, "files") for each in (a, b)]
    return a.manifest.runtime.backend == b.manifest.runtime.backend and files[0] == files[1]


def _slower(one: Times, other: Times, a: Bundle, b: Bundle) -> bool:
    """Whether the same FP32 model took another time, so that the machine was not what it was."""
    key = next((each for each in one if each.startswith(_FP32)), "")
    if key not in other or not key or not _one_base(a, b):
        return False
    return not 1 / _LEVEL < other[key] / one[key] < _LEVEL


def _report(bundle: Bundle) -> tuple[Mapping[str, Any], str]:
    """What the report says, and why it says nothing."""
    entry = next((each for each in bundle.manifest.files if each.path == METRICS), None)
    if entry is None:
        return {}, f"holds no {METRICS}"
    if entry.size > _MOST_BYTES:
        return {}, f"has a {METRICS} that is too large"
    data = bundle.read(METRICS)
    try:
        found = parse_json(data, METRICS, _MOST_BYTES)
    except IntegrityError:
        return {}, f"has a {METRICS} that cannot be read"
    return (found, "") if isinstance(found, dict) else ({}, f"has a {METRICS} that cannot be read")


def _times(report: Mapping[str, Any], bundle: Bundle) -> Times:
    """Rows by label; first what was timed against FP32, then what else was of what ships."""
    found = table(report, "latency")
    shape = found.get("shape")
    times: Times = {}
    if isinstance(shape, list) and len(shape) == 2:
        named = "x".join(str(each) for each in shape if isinstance(each, int))
        if _SHAPE.fullmatch(named):
            times = dict(_timed(found, named))
    for key, value in _shipped(report, bundle).items():
        if _SHAPE.fullmatch(key) and _positive(value):
            times.setdefault(f"p50 at {key}", value)
    return times


def _timed(found: Mapping[str, Any], shape: str) -> Iterator[tuple[str, Any]]:
    values = {name: found.get(f"{name}_ms") for name in _PERCENTILES}
    if not _positive(values["p50"]):
        return
    yield from ((f"{name} at {shape}", value) for name, value in values.items() if _positive(value))
    if _positive(found.get("fp32_p50_ms")):
        yield f"{_FP32}{shape}", found["fp32_p50_ms"]
    speedup = found.get("speedup")
    if isinstance(speedup, list) and len(speedup) == 3 and all(map(_positive, speedup)):
        yield f"{SPEEDUP}{shape}", speedup
    for label, key in (("threads (0: every core)", "threads"), ("timed on", "cpu")):
        if isinstance(found.get(key), str | int):
            yield label, found[key]


def _shipped(report: Mapping[str, Any], bundle: Bundle) -> Mapping[str, Any]:
    """Medians by shape of what ships, from among what was tried."""
    backend = bundle.manifest.runtime.backend
    for each in tables(report, "tried"):
        if each.get("outcome") == "shipped":
            return table(each, "p50_ms")
    for each in tables(report, "candidates"):
        if each.get("runtime") == backend:
            return table(each, "p50_ms")
    return {}


def _positive(value: object) -> bool:
    found = number(value)
    return found is not None and found > 0


def _obstacles(one: Times, other: Times) -> Iterator[str]:
    if not any(" at " in key for key in one.keys() & other.keys()):
        yield "other shapes"
    for key in ("timed on", "threads (0: every core)"):
        if key in one and key in other and one[key] != other[key]:
            yield "other CPUs" if key == "timed on" else "other numbers of threads"
