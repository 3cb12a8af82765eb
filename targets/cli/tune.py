"""`bertc tune`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from targets.cli.completing import complete_files, complete_folders
from targets.cli.options import key_option, print_json, print_text
from targets.cli_errors import print_warning
from targets.detect import machine
from targets.errors import UsageError

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle
    from targets.runtime.settings import Objective, RunSettings
    from targets.runtime.tune.record import Race, Trial, Tuned, TuningRecord

_SECONDS_EACH = 60.0
_BUSY = 0.75
_NO_RECORD = "there is no tuning record"


@click.command("tune", short_help="Find how bundles run fastest here, and remember it.")
@click.argument(
    "bundles",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
    shell_complete=complete_folders,
    metavar="BUNDLE...",
)
@click.option(
    "--objective",
    type=click.Choice(["latency", "throughput", "both"]),
    default="both",
    show_default=True,
    help="One text at a time, many texts together, or each by itself.",
)
@click.option(
    "--file",
    "file",
    metavar="TEXTS",
    shell_complete=complete_files,
    help="Time these: one text a line, or .jsonl; - for stdin.",
)
@click.option("--seconds", type=float, help="About how long in all.  [default: 60 for each bundle]")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="The most to use; 0 for every core.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--show", is_flag=True, help="Print the record, and whether it fits this machine.")
@click.option("--remove", is_flag=True, help="Delete the record.")
@key_option
def tune_command(
    bundles: tuple[Path, ...],
    objective: str,
    file: str | None,
    seconds: float | None,
    threads: int,
    as_json: bool,
    show: bool,
    remove: bool,
    key: Path | None,
) -> None:
    """Find by measuring how bundles run fastest on this machine.

    Threads, streams, compiled shapes and batching are timed in turn, and what is faster beyond doubt is
    written beside the bundle, as BUNDLE.tuning.json. Whatever opens the bundle on this machine then runs it
    so; its answers stay. Several bundles of one model are also timed against each other.

    Without --file, made texts are timed that are as long as sentences are: 20 tokens in the median.
    """
    from targets.bundle.reader import Bundle
    from targets.runtime.tuning import refuse_emulation

    if show and remove:
        raise UsageError("--show and --remove were both given", "give one of them")
    if not (show or remove):
        refuse_emulation()
    opened = [Bundle.open(path, key=key) for path in bundles]
    if show:
        _show(opened, as_json)
    elif remove:
        _remove(opened, as_json)
    else:
        _tune(opened, objective, file, seconds, threads, as_json)


def _tune(
    bundles: list[Bundle],
    objective: str,
    file: str | None,
    seconds: float | None,
    threads: int,
    as_json: bool,
) -> None:
    from targets.cli.texts import texts_of_file
    from targets.runtime.settings import OBJECTIVES
    from targets.runtime.tune.run import TuneOptions, tune
    from targets.runtime.tune.workload import first_texts

    options = TuneOptions(
        tuple(name for name in OBJECTIVES if objective in (name, "both")),
        _SECONDS_EACH * len(bundles) if seconds is None else seconds,
        threads,
    )
    _warn_busy()
    items = None if file is None else first_texts(item for _, item in texts_of_file(file, False))
    results = tune(bundles, options, items=items, progress=_progress())
    if as_json:
        print_json({"bundles": [_row(each.bundle, each.path, each.record, None) for each in results]})
        return
    for each in results:
        _print_record(each.bundle, each.record, options.objectives)
        print_text(f"written: {each.path}")
    for name in options.objectives:
        _print_race(name, results[0].record.tuned[name].race, bundles)


def _warn_busy() -> None:
    """Other programs' load changes which settings win: fewer threads look better than they are."""
    load, cores = os.getloadavg()[0], machine().cores
    if load > _BUSY * cores:
        print_warning(
            f"this machine is busy (a load of {load:.1f} on {cores} cores): "
            "what is found now may be slower when it is not"
        )


def _show(bundles: Sequence[Bundle], as_json: bool) -> None:
    from targets.runtime.settings import OBJECTIVES
    from targets.runtime.tuning import misfit, read_record, record_path

    rows = []
    for bundle in bundles:
        record = read_record(bundle)
        reason = _NO_RECORD if record is None else misfit(record, bundle)
        rows.append(_row(bundle, record_path(bundle), record, reason))
        if as_json:
            continue
        if record is not None:
            _print_record(bundle, record, OBJECTIVES)
            for name, tuned in record.tuned.items():
                _print_race(name, tuned.race, bundles)
        print_text(
            f"{bundle.path}: " + (f"not used: {reason}" if reason else "fits this machine, and is used")
        )
    if as_json:
        print_json({"bundles": rows})


def _remove(bundles: Sequence[Bundle], as_json: bool) -> None:
    from targets.runtime.tuning import record_path, remove_record

    rows = []
    for bundle in bundles:
        removed = remove_record(bundle)
        rows.append({**_row(bundle, record_path(bundle), None, _NO_RECORD), "removed": removed})
        if not as_json:
            print_text(f"{bundle.path}: " + ("record removed" if removed else _NO_RECORD))
    if as_json:
        print_json({"bundles": rows})


def _row(bundle: Bundle, path: Path, record: TuningRecord | None, reason: str | None) -> dict[str, Any]:
    return {
        "bundle": str(bundle.path),
        "record_path": str(path),
        "misfit": reason,
        "record": record.to_dict() if record is not None else None,
    }


def _progress() -> Callable[[str], None]:
    if not sys.stderr.isatty():
        return lambda _: None
    return lambda what: click.echo(f"\r\x1b[K{what[:100]}", err=True, nl=False)


def _print_record(bundle: Bundle, record: TuningRecord, objectives: Sequence[Objective]) -> None:
    here = record.machine
    print_text(
        f"{bundle.path.name}: {record.backend} {record.backend_version}, {here.cpu_model}, "
        f"{here.threads} threads"
    )
    for name in objectives:
        if name in record.tuned:
            _print_tuned(name, record.tuned[name])


def _print_tuned(name: Objective, tuned: Tuned) -> None:
    unit = _unit(name)
    work = tuned.workload
    source = "texts of --file" if work.source == "file" else "made texts of typical lengths"
    print_text(
        f"  {name}: {work.texts} {source}, {work.median_tokens} tokens in the median, "
        f"{work.p95_tokens} at 95%, {work.longest_tokens} at most"
    )
    width = max((len(describe(each.settings, tuned.default)) for each in tuned.trials), default=0)
    print_text(f"    {'stage':9} {'settings':{width}} {unit:>9} {'time':>7}  95% interval")
    for trial in tuned.trials:
        print_text(f"    {_trial_line(trial, tuned.default, width)}")
    kept = describe(tuned.settings, tuned.default)
    gain = (
        f"{1 / tuned.figures.ratio:.2f}x as fast as" if tuned.settings != tuned.default else "no faster than"
    )
    print_text(f"    -> {kept}: {tuned.figures.value:.4g} {unit}, {gain} the default")


def _trial_line(trial: Trial, default: RunSettings, width: int) -> str:
    start = f"{trial.stage:9} {describe(trial.settings, default):{width}}"
    found = trial.figures
    if found is None:
        return f"{start} {'-':>9} {'-':>7}  {trial.outcome}"
    interval = "" if trial.outcome == "reference" else f"{found.low:.3f} to {found.high:.3f}"
    return f"{start} {found.value:9.4g} {found.ratio:7.3f}  {interval:14} {trial.outcome}"


def _print_race(name: Objective, race: Race | None, bundles: Sequence[Bundle]) -> None:
    if race is None:
        return
    names = {bundle.id: bundle.path.name for bundle in bundles}
    shown = [names.get(each.bundle_id, each.bundle_id[:12]) for each in race.entrants]
    width = max(map(len, shown))
    print_text(f"{name}, bundles against each other:")
    for title, each in zip(shown, race.entrants, strict=True):
        mark = "  <- fastest" if each.bundle_id == race.winner else ""
        found = each.figures
        print_text(
            f"  {title:{width}}  {each.backend:11} {found.value:9.4g} {_unit(name)}  time {found.ratio:.3f} "
            f"({found.low:.3f} to {found.high:.3f}){mark}"
        )
    if race.winner is None:
        print_text("  no difference beyond doubt")


def describe(settings: RunSettings, default: RunSettings) -> str:
    """What of the settings is not the default's, in one line."""
    parts = []
    for each in fields(settings):
        value = getattr(settings, each.name)
        if value == getattr(default, each.name):
            continue
        if each.name == "shapes":
            lengths = value.lengths
            value = f"{len(lengths)} to {lengths[-1]}" if lengths else "dynamic"
        parts.append(f"{each.name} {value}")
    return ", ".join(parts) or "the default"


def _unit(name: Objective) -> str:
    return "ms" if name == "latency" else "texts/s"
