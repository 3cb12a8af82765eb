"""The sections of what was measured: what was tried, latency, noise, lengths."""

from __future__ import annotations

from collections import Counter

from compiler.report.facts import Facts, Point, Search, Timing, percentile
from compiler.report.page import plots, words
from compiler.report.page.blocks import Block, Column, Figure, Note, Section, Table
from compiler.report.page.glance import no_timing, where

_HOLDS = {True: "holds", False: "fails"}


def tried(facts: Facts) -> Section:
    """Accuracy against latency of everything that was tried, and the searches."""
    name = words.name(facts.validation.metric or "metric")
    lead = (
        f"Every model that was built. Across: median milliseconds of one run on the machine that compiled, "
        f"less is better. Upward: {name} on the evaluation data, more is better. Shapes are texts x tokens."
    )
    blocks: list[Block] = []
    if facts.points:
        blocks.append(_points(facts, name))
    else:
        blocks.append(Note(f"Nothing was timed: {no_timing(facts)}."))
    if facts.searches:
        blocks.append(
            Note(
                "Searches try variants on texts held out of the calibration data, never on the evaluation "
                "data. What ships is the fastest variant for which the gate holds there."
            )
        )
    for index, search in enumerate(facts.searches):
        table = _trials(search)
        plot = plots.search(search, index, facts.validation.max_drop)
        blocks.append(table if plot is None else Figure(plot, table))
    return Section("tried", "Accuracy against latency", lead, tuple(blocks))


def latency(facts: Facts) -> Section:
    """The distributions of single runs."""
    lead = (
        "The bundle and its checkpoint in FP32, run in turns in the same runtime on texts without padding. "
        "p50 is the median; 95 and 99 of 100 runs took no longer than p95 and p99."
    )
    timing = facts.timing
    if timing is None:
        return Section("latency", "Latency", lead, (Note(f"Not measured: {no_timing(facts)}."),))
    value, low, high = timing.speedup
    note = Note(
        f"{value:.2f}x as fast as FP32, 95% interval {low:.2f} to {high:.2f}. Measured with "
        f"{where(timing)}. The slowest runs may lie beyond the plot; the table has them."
    )
    return Section("latency", "Latency", lead, (note, Figure(plots.latency(timing), _percentiles(timing))))


def noise(facts: Facts) -> Section:
    """Signal-to-noise ratios by layer, and what stayed in float."""
    lead = (
        "How much of each layer's output is quantization noise, on calibration texts, in dB: at 20 dB the "
        "noise is a tenth of the signal, at 40 dB a hundredth. More is better."
    )
    blocks: list[Block] = []
    if facts.noise:
        plot = plots.noise(facts.noise)
        table = Table(
            "Signal-to-noise ratio by layer",
            (
                Column("layer", "code"),
                Column("alone, dB", "number"),
                Column("with all before, dB", "number"),
                Column("computes on"),
            ),
            tuple(
                (
                    words.name(each.role),
                    words.decibels(each.own_db),
                    words.decibels(each.total_db),
                    each.computes,
                )
                for each in facts.noise
            ),
        )
        blocks.append(table if plot is None else Figure(plot, table))
    else:
        blocks.append(
            Note("Not measured: nothing was calibrated, so no layer has fixed ranges to be judged by.")
        )
    return Section("noise", "Noise by layer", lead, tuple(blocks))


def lengths(facts: Facts) -> Section:
    """The calibration texts."""
    lead = (
        "Tokens of the texts that the ranges of activations were taken from, special tokens included. Texts "
        "of the device should be alike."
    )
    found = facts.lengths
    if found is None:
        return Section("lengths", "Calibration texts", lead, (Note("Nothing was calibrated."),))
    rows = [
        (f"{start:,} to {end - 1:,}" if end - start > 1 else f"{start:,}", f"{texts:,}")
        for start, end, texts in zip(found.edges[:-1], found.edges[1:], found.counts, strict=True)
    ]
    note = Note(
        f"{words.count(sum(found.counts), 'text')}: median {found.median:,} tokens, longest "
        f"{found.longest:,}; "
        + (f"{found.truncated:,} cut to the model's length." if found.truncated else "none had to be cut.")
    )
    columns = (Column("tokens", "number"), Column("texts", "number"))
    table = Table("Calibration texts by length", columns, tuple(rows))
    return Section("lengths", "Calibration texts", lead, (note, Figure(plots.lengths(found), table)))


def _points(facts: Facts, name: str) -> Block:
    shapes = list(dict.fromkeys(shape for each in facts.points for shape in each.p50_ms))
    columns = (
        Column("#", "number"),
        Column("model"),
        Column("runtime"),
        Column("precision"),
        *(Column(f"p50 at {each}, ms", "number") for each in shapes),
        Column(name, "number"),
        Column("agreement", "number"),
        Column("outcome"),
    )
    chosen = _common_shape(facts)
    drawn = [each for each in facts.points if words.is_number(each.value) and chosen in each.p50_ms]
    numbers = {id(each): f"{index}" for index, each in enumerate(drawn, start=1)}
    rows = tuple(_row(each, shapes, numbers.get(id(each), words.NOTHING)) for each in facts.points)
    table = Table("Everything that was tried", columns, rows)
    if not drawn:
        return table
    found = facts.validation
    floor = None if found.baseline is None or found.max_drop is None else found.baseline - found.max_drop
    places = [
        (each.label, each.p50_ms[chosen], each.value, each.precision == "fp32")
        for each in drawn
        if each.value is not None
    ]
    across = f"median ms at {chosen}"
    return Figure(
        plots.accuracy_latency(places, across=across, upward=words.shorten(name, 24), floor=floor), table
    )


def _row(point: Point, shapes: list[str], number: str) -> tuple[str, ...]:
    times = (
        words.milliseconds(point.p50_ms[each]) if each in point.p50_ms else "not timed" for each in shapes
    )
    return (
        number,
        words.name(point.label),
        words.name(point.runtime),
        point.precision,
        *times,
        words.metric(point.value),
        words.percent(point.agreement),
        words.name(point.outcome),
    )


def _common_shape(facts: Facts) -> str:
    """The shape of the plot: that of the timing where most points have it, else the one that most have."""
    counts = Counter(shape for each in facts.points for shape in each.p50_ms)
    if facts.timing is not None:
        own = f"{facts.timing.batch}x{facts.timing.tokens}"
        if counts and counts[own] == max(counts.values()):
            return own
    return counts.most_common(1)[0][0] if counts else ""


def _trials(search: Search) -> Table:
    columns = (
        Column("variant"),
        Column(words.name(search.axis), "number"),
        Column("change of the metric", "number"),
        Column("agreement", "number"),
        Column("gate"),
    )
    rows = tuple(
        (
            words.name(each.label),
            "not known" if each.cost is None else f"{each.cost:,.6g}",
            words.delta(each.delta, "not finite"),
            words.percent(each.agreement, "not finite"),
            _HOLDS[each.holds],
        )
        for each in search.trials
    )
    return Table(words.name(f"Search: {search.title}"), columns, rows)


def _percentiles(timing: Timing) -> Table:
    sides = (timing.fp32_runs_ms, timing.runs_ms)
    rows = [("fastest", *(words.milliseconds(runs[0]) for runs in sides))]
    for share in (50, 95, 99):
        rows.append((f"p{share}", *(words.milliseconds(percentile(runs, share)) for runs in sides)))
    rows.append(("slowest", *(words.milliseconds(runs[-1]) for runs in sides)))
    rows.append(("number of runs", *(f"{len(runs):,}" for runs in sides)))
    headings = (Column("run"), Column("FP32, ms", "number"), Column("compiled, ms", "number"))
    return Table("Latency of one run", headings, tuple(rows))
