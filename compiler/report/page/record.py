"""The sections of the record: metrics, options, passes, data, tools, warnings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compiler.report.facts import Facts
from compiler.report.page import words
from compiler.report.page.blocks import Block, Column, Note, Section, Table, pairs
from compiler.report.page.glance import EVIDENCE, verdict, why_not_measured
from compiler.validate import Validation

_SIDES = ("baseline", "compiled")


def accuracy(facts: Facts) -> Section:
    """Every metric, and what stands behind them."""
    lead = (
        "The FP32 model and the compiled one on the same evaluation texts. The interval is that of the "
        "change, from a paired bootstrap over the texts: 95% of such samples fall within."
    )
    found = facts.validation
    blocks: list[Block] = []
    if found.compiled is None:
        blocks.append(Note(f"Not measured: {why_not_measured(found)}."))
    else:
        blocks += [_gate(found), _metrics(found)]
    if found.simulated is not None and found.simulated.compiled is not None:
        blocks.append(
            Note(
                f"Before it was emulated, the same model was simulated: {found.simulated.metric} "
                f"{words.metric(found.simulated.compiled)}, change {words.delta(found.simulated.delta)}, "
                f"over {words.count(found.simulated.n, 'text')}."
            )
        )
    return Section("accuracy", "Accuracy", lead, tuple(blocks))


def options(facts: Facts) -> Section:
    """What it was compiled with, and from what."""
    lead = (
        "What the bundle was compiled from and with; `bertc compile --from-manifest` compiles it again. "
        "`bertc compile --help` explains the options."
    )
    record = facts.manifest.provenance
    config = [(key, words.shorten(words.plain(value))) for key, value in record.get("config", {}).items()]
    blocks: list[Block] = [_identity(facts), _data(record.get("data", {}))]
    if config:
        blocks.append(Table("Options", (Column("option", "code"), Column("value")), tuple(config)))
    passes = record.get("passes", [])
    if passes:
        blocks.append(_passes(passes))
    blocks += [_tools(record), _seconds(facts.seconds)]
    return Section("options", "Options and record", lead, tuple(blocks))


def _gate(found: Validation) -> Table:
    interval = (
        "not known: there is no FP32 model to compare with"
        if found.ci95 is None
        else f"{words.delta(found.ci95[0])} to {words.delta(found.ci95[1])}"
    )
    rows = [
        ("gate", verdict(found)[0] + (f": {words.shorten(found.reason)}" if found.reason else "")),
        ("largest drop allowed", "no limit was set" if found.max_drop is None else f"{found.max_drop:g}"),
        ("change", words.delta(found.delta)),
        ("95% interval of the change", interval),
        ("agreement with FP32", words.percent(found.agreement)),
        ("texts", f"{found.n:,}"),
        ("compared with", "labels" if found.labelled else "the answers of the FP32 model"),
        ("evidence", f"{found.evidence}: {EVIDENCE.get(found.evidence, '')}"),
    ]
    if found.integer is not None:
        gap = found.integer.get("max_abs")
        rows.append(
            (
                "against the exact integer reference",
                f"{words.percent(found.integer.get('agreement'))} agreement"
                + ("" if gap is None else f", outputs within {gap:.2g}"),
            )
        )
    return pairs("The gate", ("what", "value"), rows)


def _metrics(found: Validation) -> Table:
    baseline, compiled = (found.metrics.get(side, {}) for side in _SIDES)
    rows = []
    for name in dict.fromkeys((*baseline, *compiled)):
        old, new = baseline.get(name), compiled.get(name)
        change = None if old is None or new is None else new - old
        rows.append((words.name(name), words.metric(old), words.metric(new), words.delta(change)))
    columns = (
        Column("metric"),
        Column("FP32", "number"),
        Column("compiled", "number"),
        Column("change", "number"),
    )
    return Table("Every metric", columns, tuple(rows))


def _identity(facts: Facts) -> Table:
    manifest, record = facts.manifest, facts.manifest.provenance
    rows = [
        ("bundle", words.shorten(manifest.name, 1200)),
        ("model", words.shorten(words.plain(record.get("model")))),
        ("architecture", words.shorten(words.plain(record.get("model_type")))),
        ("labels", words.shorten(", ".join(manifest.task_config.labels) or "none", 1200)),
        ("longest text", words.count(manifest.max_length, "token")),
        ("target", f"{manifest.target.id}: {manifest.target.os} on {manifest.target.arch}"),
        ("runtime", f"{manifest.runtime.backend}, tested with {manifest.runtime.tested_version}"),
        ("runtime's options", words.plain(manifest.runtime.options)),
    ]
    return pairs("Bundle", ("what", "value"), rows)


def _data(data: Mapping[str, Any]) -> Block:
    rows = tuple(
        (
            words.name(use.replace("_", " ")),
            words.shorten(words.plain(each.get("name"))),
            f"{each['texts']:,}" if isinstance(each.get("texts"), int) else words.plain(each.get("texts")),
            words.plain(each.get("sha256")),
        )
        for use, each in data.items()
        if isinstance(each, Mapping)
    )
    if not rows:
        return Note("No data was given: nothing was calibrated, and nothing was measured on texts.")
    columns = (Column("use"), Column("name"), Column("texts", "number"), Column("SHA-256", "code"))
    return Table("Data sets", columns, rows)


def _passes(passes: list[Mapping[str, Any]]) -> Table:
    rows = []
    for each in passes:
        declined = "; ".join(f"{place['where']}: {place['reason']}" for place in each.get("declined", []))
        rows.append(
            (
                each["name"],
                "yes" if each.get("modified") else "no",
                words.plain(each.get("counts", {})),
                words.shorten(declined or "nothing", 600),
            )
        )
    columns = (
        Column("pass", "code"),
        Column("changed the graph"),
        Column("counts"),
        Column("declined, and why"),
    )
    return Table("Passes over the graph, in order", columns, tuple(rows))


def _tools(record: Mapping[str, Any]) -> Table:
    rows = [
        (words.name(name), words.shorten(words.plain(each))) for name, each in record.get("tools", {}).items()
    ]
    cpu = record.get("cpu", {})
    if cpu:
        rows.append(("CPU", f"{words.plain(cpu.get('arch'))} with {words.plain(cpu.get('features'))}"))
    return pairs("Tools and CPU", ("what", "release"), rows)


def _seconds(seconds: Mapping[str, float]) -> Block:
    if not seconds:
        return Note("The stages of the compile were not timed.")
    total = sum(seconds.values())
    rows = [
        (words.name(name), f"{spent:,.2f}", f"{100 * spent / total:.1f}%" if total else "0%")
        for name, spent in seconds.items()
    ]
    columns = (Column("stage"), Column("seconds", "number"), Column("share", "number"))
    return Table("Time of the compile by stage", columns, (*rows, ("all", f"{total:,.2f}", "100.0%")))


def warnings(facts: Facts) -> Section:
    """Each on a line of its own."""
    lead = "What the compile warned of, in order."
    blocks = tuple(Note(words.shorten(each, 1200)) for each in facts.warnings)
    return Section("warnings", "Warnings", lead, blocks or (Note("There were none."),))
