"""The comparison as a page, and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from compiler.latency import Ratio
from tools.bench_report import table
from tools.speed.run import Race, Speed
from tools.speed.timing import Timed

_HOW = """\
A ratio above 1 says how many times less time bertc takes, with its 95% interval; both models' blocks of the
same round are compared. bertc is its faster runtime, which `bertc compile` chooses by timing both. *As used*:
the dynamic graph in its runtime, latency hint, all INT8 models with the same threads. *Reshaped by hand*:
NNCF's model compiled for just that shape, with the rest in float32 and in bfloat16, the better of both.

At a fixed shape a block is 14 runs of one model, the first 4 untimed. Texts are run in blocks of 50, after 4
untimed ones, and the figures are of the passes after the first, in which most lengths are new to a model."""

_BULK = """\
All texts at once, tokenizing included. bertc groups them itself; each peer is given batches of texts sorted
by length, of every size among 4, 8, 16, 32 and 64, on OpenVINO also with the throughput hint and an
asynchronous queue, and its best is kept."""


def page(speeds: Mapping[str, Speed], head: str, command: str) -> str:
    """The page of the documentation, in Markdown."""
    main = next(iter(speeds.values()))
    parts = [
        "# bertc beside other INT8 models: speed",
        "Made by the command below; every number is of that one run.",
        f"    {command}",
        head,
        _HOW,
        "## Ratios",
        ratios(speeds),
        "## Fixed shapes",
        *(_shapes(name, speed) for name, speed in speeds.items()),
    ]
    stream = [race for race in main.races if race.work == "real texts"]
    if stream:
        parts += ["## Real texts, one at a time", _stream(stream[0], main)]
        parts += ["## All texts in bulk", _BULK, _bulk(main)]
    if main.starts:
        parts += ["## From the start of a process to the first answer", _starts(main)]
    return "\n\n".join(parts) + "\n"


def ratios(speeds: Mapping[str, Speed]) -> str:
    """Every kind of work, against the best peer of each column."""
    lines = [["work", "bertc", "best peer as used", "ratio", "NNCF reshaped by hand", "ratio"]]
    for name, speed in speeds.items():
        for race in speed.races:
            own, used = race.times[race.best], race.times[race.used[0]]
            line = [f"{name}, {race.work}", _short(race.best, own), _short(race.used[0], used)]
            line.append(_ratio(race.used[1]))
            if race.reshaped is not None:
                hand = race.times[race.reshaped[0]]
                line += [f"{hand.median:.2f} ms", _ratio(race.reshaped[1])]
            lines.append(line + [""] * (6 - len(line)))
    return table(lines)


def _short(name: str, timed: Timed) -> str:
    return f"{name}: {_milliseconds(timed.median)}"


def _milliseconds(value: float) -> str:
    return f"{value:.2f} ms" if value < 100 else f"{value:.0f} ms"


def _ratio(ratio: Ratio) -> str:
    return f"{ratio.value:.2f}x [{ratio.low:.2f}, {ratio.high:.2f}]"


def _shapes(name: str, speed: Speed) -> str:
    races = [race for race in speed.races if race.products is not None]
    models = list(dict.fromkeys(_label(model, race) for race in races for model in race.times))
    lines = [[name, *(race.work for race in races)]]
    for model in models:
        lines.append([model, *(_cell(model, race) for race in races)])
    needed = [1e3 * (race.products or 0) / speed.rate for race in races]
    lines.append(["the products alone, at the rate below", *(f"{each:.2f} ms" for each in needed)])
    shares = [
        f"{100 * alone / race.times[race.best].median:.0f}%"
        for alone, race in zip(needed, races, strict=True)
    ]
    lines.append(["their share of bertc's time", *shares])
    rate = f"Large INT8 products reach {speed.rate / 1e9:.0f} GMAC/s here with the same threads."
    return f"{table(lines)}\n\n{rate}"


def _label(model: str, race: Race) -> str:
    """The name without the shape that it was reshaped to."""
    return model.replace(f" to {race.work}", "")


def _cell(model: str, race: Race) -> str:
    found = [timed for name, timed in race.times.items() if _label(name, race) == model]
    return f"{found[0].median:.2f} ms" if found else ""


def _stream(race: Race, speed: Speed) -> str:
    lines = [["model", "mean", "median", "95th percentile", "mean of the first pass"]]
    for name, timed in race.times.items():
        first = "" if speed.first is None else f"{speed.first[name].runs.mean():.2f} ms"
        spread = [float(np.percentile(timed.runs, percent)) for percent in (50, 95)]
        lines.append([name, f"{timed.runs.mean():.2f} ms", *(f"{each:.2f} ms" for each in spread), first])
    prepared = ", ".join(f"{length} ({took:.2f} s)" for length, took in (speed.prepared or {}).items())
    note = f"{speed.texts} texts."
    if prepared:
        note += f" Meanwhile, lengths compiled in the background on OpenVINO, and what each took: {prepared}."
    return f"{table(lines)}\n\n{note}"


def _bulk(speed: Speed) -> str:
    race = next(race for race in speed.races if race.work == "all texts in bulk")
    lines = [["model", "texts a second", "all texts"]]
    for name, timed in race.times.items():
        lines.append([name, f"{1e3 * speed.texts / timed.median:.0f}", f"{timed.median:.0f} ms"])
    return table(lines)


def _starts(speed: Speed) -> str:
    lines = [["process", "first answer", "most resident memory"]]
    for name, start in (speed.starts or {}).items():
        lines.append([name, f"{start.seconds:.2f} s", f"{start.memory_mb:.0f} MiB"])
    return table(lines)


def to_json(speeds: Mapping[str, Speed], where: Mapping[str, Any]) -> str:
    """Everything, with the milliseconds of every block."""
    models = {name: _speed(speed) for name, speed in speeds.items()}
    return json.dumps({**where, "models": models}, indent=2) + "\n"


def _speed(speed: Speed) -> dict[str, Any]:
    return {
        "int8_macs_per_s": speed.rate,
        "texts": speed.texts,
        "races": [_race(race) for race in speed.races],
        "first_pass_ms": {name: _values(timed) for name, timed in (speed.first or {}).items()},
        "prepared_s": {str(length): took for length, took in (speed.prepared or {}).items()},
        "starts": {name: asdict(start) for name, start in (speed.starts or {}).items()},
    }


def _race(race: Race) -> dict[str, Any]:
    pairs = {"as_used": race.used, "reshaped": race.reshaped}
    return {
        "work": race.work,
        "macs": race.products,
        "bertc": race.best,
        **{
            key: None if pair is None else {"peer": pair[0], **asdict(pair[1])} for key, pair in pairs.items()
        },
        "block_ms": {name: _values(timed) for name, timed in race.times.items()},
    }


def _values(timed: Timed) -> Sequence[float]:
    return [round(float(each), 4) for each in timed.blocks]
