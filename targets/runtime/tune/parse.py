"""Reads a tuning record, which may come from anyone. Standard library only: a start-up reads it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, get_args

from targets.bundle.strict_json import parse_json
from targets.errors import IntegrityError, UsageError
from targets.fields import Fields
from targets.runtime.settings import MAX_SHAPES, OBJECTIVES, Objective, RunSettings, ShapePolicy, When
from targets.runtime.tune.record import (
    FORMAT,
    MAX_BYTES,
    VERSION,
    Entrant,
    Figures,
    MachineRecord,
    Outcome,
    Race,
    Source,
    Trial,
    Tuned,
    TuningRecord,
    Workload,
)
from targets.spec import RUNTIMES

Fail = Callable[[str], IntegrityError]

AGAIN: Final = "measure again with `bertc tune`, or delete the record with `bertc tune --remove`"

_OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
_SOURCES: Final[tuple[Source, ...]] = get_args(Source)
_WHENS: Final[tuple[When, ...]] = get_args(When)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[a-z0-9_]{1,32}")
_VERSION: Final = re.compile(r"[A-Za-z0-9.+_-]{1,64}")
_STAGE: Final = re.compile(r"[a-z_]{1,32}")
_MAX_TRIALS: Final = 64
_MAX_ENTRANTS: Final = 16
_MAX_FIGURE: Final = 1e12
_MAX_COUNT: Final = 1 << 20


def parse_record(data: bytes, name: str) -> TuningRecord:
    """Reads a record, which may come from anyone.

    Args:
        data: at most 64 KiB.
        name: of the file, for messages.

    Raises:
        IntegrityError: not strict JSON, another version, an unknown or missing key, a value out of bounds.
    """

    def fail(problem: str) -> IntegrityError:
        return IntegrityError(f"{name}: {problem}", AGAIN)

    try:
        document = parse_json(data, name, MAX_BYTES)
    except IntegrityError as error:
        raise IntegrityError(error.message, AGAIN) from error
    fields = Fields(document, "", fail)
    fields.choice("format", (FORMAT,))
    fields.choice("version", (VERSION,))
    record = TuningRecord(
        bundle_id=fields.text("bundle_id", _SHA256),
        backend=fields.choice("backend", RUNTIMES),
        backend_version=fields.text("backend_version", _VERSION),
        machine=_machine(fields.table("machine")),
        tuned=_objectives(fields.table("objectives"), fail),
    )
    fields.close()
    return record


def _machine(fields: Fields) -> MachineRecord:
    found = MachineRecord(
        arch=fields.text("arch", _NAME),
        os=fields.text("os", _NAME),
        cpu_model=fields.text("cpu_model"),
        cores=fields.integer("cores", 1, _MAX_COUNT),
        threads=fields.integer("threads", 1, _MAX_COUNT),
    )
    fields.close()
    return found


def _objectives(fields: Fields, fail: Fail) -> dict[Objective, Tuned]:
    found = {name: _tuned(fields.table(name), fail) for name in OBJECTIVES if fields.has(name)}
    fields.close()
    if not found:
        raise fail("it has no objective")
    return found


def _tuned(fields: Fields, fail: Fail) -> Tuned:
    found = Tuned(
        settings=_settings(fields.table("settings"), fail),
        figures=_figures(fields.free("figures"), fail),
        default=_settings(fields.table("default"), fail),
        default_figures=_figures(fields.free("default_figures"), fail),
        workload=_workload(fields.table("workload")),
        trials=tuple(_trial(trial, fail) for trial in _bounded(fields, "trials", _MAX_TRIALS, fail)),
        race=_race(fields.table("race"), fail) if fields.free_or_null("race") is not None else None,
    )
    fields.close()
    return found


def _settings(fields: Fields, fail: Fail) -> RunSettings:
    shapes = fields.table("shapes")
    try:
        found = RunSettings(
            threads=fields.integer("threads"),
            streams=fields.integer("streams"),
            max_batch=fields.integer("max_batch"),
            max_tokens=fields.integer("max_tokens"),
            run_tokens=fields.integer("run_tokens"),
            shapes=ShapePolicy(
                lengths=_lengths(shapes.items("lengths"), fail),
                when=shapes.choice("when", _WHENS),
                kept=shapes.integer("kept", 1, MAX_SHAPES),
                memory_mb=shapes.integer("memory_mb"),
            ),
        )
    except UsageError as error:
        raise fail(error.message) from error
    shapes.close()
    fields.close()
    return found


def _lengths(values: list[Any], fail: Fail) -> tuple[int, ...]:
    if len(values) > MAX_SHAPES:
        raise fail(f"more than {MAX_SHAPES} lengths")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_COUNT:
            raise fail(f"a length must be an integer from 1 to {_MAX_COUNT}")
    return tuple(values)


def _figures(table: dict[str, Any], fail: Fail) -> Figures:
    names = ("value", "ratio", "low", "high")
    fields = Fields({"rounds": table.get("rounds")}, "figures", fail)
    if set(table) != {*names, "rounds"}:
        raise fail("figures must have value, ratio, low, high and rounds")
    value, ratio, low, high = (_number(table[name], fail) for name in names)
    return Figures(value, ratio, low, high, fields.integer("rounds"))


def _number(value: object, fail: Fail) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= _MAX_FIGURE:  # type: ignore[operator]
        raise fail("a figure must be a number from 0")
    return float(value)  # type: ignore[arg-type]


def _workload(fields: Fields) -> Workload:
    found = Workload(
        source=fields.choice("source", _SOURCES),
        texts=fields.integer("texts", 1, _MAX_COUNT),
        median_tokens=fields.integer("median_tokens", 1, _MAX_COUNT),
        p95_tokens=fields.integer("p95_tokens", 1, _MAX_COUNT),
        longest_tokens=fields.integer("longest_tokens", 1, _MAX_COUNT),
    )
    fields.close()
    return found


def _trial(fields: Fields, fail: Fail) -> Trial:
    figures = fields.free_or_null("figures")
    found = Trial(
        stage=fields.text("stage", _STAGE),
        settings=_settings(fields.table("settings"), fail),
        outcome=fields.choice("outcome", _OUTCOMES),
        figures=None if figures is None else _figures(figures, fail),
    )
    fields.close()
    return found


def _race(fields: Fields, fail: Fail) -> Race:
    entrants = tuple(_entrant(each, fail) for each in _bounded(fields, "entrants", _MAX_ENTRANTS, fail))
    winner = fields.text_or_null("winner", _SHA256)
    if winner is not None and winner not in {entrant.bundle_id for entrant in entrants}:
        raise fail(f"{fields.place('winner')} is none of the entrants")
    fields.close()
    return Race(winner, entrants)


def _entrant(fields: Fields, fail: Fail) -> Entrant:
    found = Entrant(
        bundle_id=fields.text("bundle_id", _SHA256),
        backend=fields.choice("backend", RUNTIMES),
        figures=_figures(fields.free("figures"), fail),
    )
    fields.close()
    return found


def _bounded(fields: Fields, key: str, limit: int, fail: Fail) -> list[Fields]:
    if len(fields.items(key)) > limit:
        raise fail(f"{fields.place(key)} has more than {limit} entries")
    return fields.tables(key)
