"""Reads what a bundle's record says was chosen by measuring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from compiler.options import CompileOptions
from compiler.replay.decisions import Decisions, RecordedCut, RecordedFloats
from targets.errors import BertcError
from targets.fields import Fields
from targets.latency import read_latency
from targets.spec import Runtime

_MOST: Final = 4096
_OF_PROFILES: Final = frozenset({"runtime", "precision", "shape", "fixed_ms", "modules"})
_SOURCES: Final = ("measured", "profile", "estimated")
_INTERVAL: Final = 3

Fail = Callable[[str], BertcError]


def read_decisions(compression: Fields, options: CompileOptions, runtime: Runtime, fail: Fail) -> Decisions:
    """What was chosen.

    Args:
        compression: the table of that name.
        options: which say what was to be chosen.
        runtime: of the bundle.
        fail: makes the error to raise.

    Raises:
        BertcError: what `fail` makes; it names the key.
    """
    cut = None
    if options.prune_speedup is not None or (options.prune is not None and compression.has("pruning")):
        cut = _cut(compression.table("pruning"), fail)
    auto = options.precision == "auto"
    return Decisions(runtime, cut, _floats(compression.table("quantization"), fail) if auto else None)


def _cut(fields: Fields, fail: Fail) -> RecordedCut:
    modules: dict[str, tuple[int, int]] = {}
    for each in _bounded(fields, "modules", fail):
        groups = each.integer("groups", 1)
        modules[each.text("name")] = (groups, each.integer("kept", 0, groups))
    tried = fields.items("tried") if fields.has("tried") else []
    for each in tried:
        _check_trial(Fields(each, fields.place("tried"), fail))
    return RecordedCut(modules, _latency(fields, fail), tuple(tried))


def _latency(pruning: Fields, fail: Fail) -> Mapping[str, Any]:
    table, place = pruning.free("latency"), pruning.place("latency")
    own = Fields({key: table[key] for key in table.keys() - _OF_PROFILES}, place, fail)
    own.choice("source", _SOURCES)
    own.real("expected_speedup")
    if own.has("measured_speedup"):
        own.numbers("measured_speedup", _INTERVAL)
    own.close()
    read_latency(Fields({key: table[key] for key in table.keys() & _OF_PROFILES}, place, fail), fail)
    return table


def _check_trial(fields: Fields) -> None:
    fields.real("expected_speedup")
    fields.number_or_null("delta")
    fields.number_or_null("agreement")
    fields.flag("holds")
    fields.close()


def _floats(quantization: Fields, fail: Fail) -> RecordedFloats:
    reasons = {each.text("name"): each.text("reason") for each in _bounded(quantization, "float", fail)}
    scheme = quantization.table("scheme")
    search = scheme.free("search")
    _check_search(Fields(search, scheme.place("search"), fail))
    return RecordedFloats(reasons, search)


def _check_search(fields: Fields) -> None:
    fields.texts("float")
    fields.integer("trials")
    fields.integer("texts")
    fields.text("metric")
    fields.flag("labelled")
    for key in ("delta", "uncertainty", "agreement"):
        fields.number_or_null(key)
    fields.numbers_or_null("ci95", 2)
    gate = fields.table("gate")
    gate.real("max_drop")
    gate.real_or_null("min_agreement")
    gate.close()
    fields.close()


def _bounded(fields: Fields, key: str, fail: Fail) -> list[Fields]:
    if len(fields.items(key)) > _MOST:
        raise fail(f"{fields.place(key)} has more than {_MOST} entries")
    return fields.tables(key)
