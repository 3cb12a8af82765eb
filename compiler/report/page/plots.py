"""The plots of a report. All are drawn within `drawing`."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from compiler.report.facts import LayerNoise, Lengths, Search, Timing, percentile
from compiler.report.page.blocks import Key, Plot
from compiler.report.page.drawing import new_figure, paint, to_svg
from compiler.report.page.labels import place_labels
from compiler.report.page.words import MINUS, is_number, shorten
from compiler.structure import Structure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_AREA: Final = 64
_LABEL: Final = 24
_AXIS: Final = 42
_LINES: Final = 2
_TICKS: Final = 8
_STEPS: Final = 400
_LAYER: Final = re.compile(r"layer(\d+)\.")


def accuracy_latency(
    points: Sequence[tuple[str, float, float, bool]], *, across: str, upward: str, floor: float | None
) -> Plot:
    """What was tried.

    Args:
        points: name, milliseconds, metric, and whether it is FP32.
        across: name of the axis of milliseconds.
        upward: name of the other.
        floor: the least value that passes the gate.
    """
    title = "Accuracy against latency"
    figure, (axes,) = new_figure(300)
    for group, marker, colour in ((True, "D", "fp32"), (False, "o", "bundle")):
        chosen = [each for each in points if each[3] is group]
        axes.scatter(
            [each[1] for each in chosen], [each[2] for each in chosen],
            s=_AREA, marker=marker, color=paint(colour), zorder=3,
        )  # fmt: skip
    values = [each[2] for each in points]
    _frame(axes, [each[1] for each in points], values if floor is None else [*values, floor], zero=True)
    if floor is not None:
        axes.axhline(floor, color=paint("gate"), linestyle=(0, (4, 3)), linewidth=1.5)
    _name(axes, across, upward)
    place_labels(figure, axes, [(x, y, shorten(name, _LABEL)) for name, x, y, _ in points], floor)
    keys = [Key("circle", "bundle", "compiled")]
    if any(each[3] for each in points):
        keys.insert(0, Key("diamond", "fp32", "FP32"))
    if floor is not None:
        keys.append(Key("dashed", "gate", "least that passes the gate"))
    return Plot(title, to_svg(figure, "tried", title), tuple(keys))


def search(found: Search, index: int, max_drop: float | None) -> Plot | None:
    """The trials of one search; None where none of them has a place on both axes."""
    points = [(each.cost, each.delta, each) for each in found.trials]
    known = [(cost, delta, each) for cost, delta, each in points if is_number(cost) and is_number(delta)]
    if not known:
        return None
    title = shorten(f"Search: {found.title}", 120)
    figure, (axes,) = new_figure(280)
    for holds, marker, colour in ((True, "o", "bundle"), (False, "X", "gate")):
        chosen = [each for each in known if each[2].holds is holds]
        axes.scatter(
            [each[0] for each in chosen], [each[1] for each in chosen],
            s=_AREA, marker=marker, color=paint(colour), zorder=3,
        )  # fmt: skip
    level = None if max_drop is None else -max_drop
    heights = [delta for _, delta, _ in known] + [0.0] + ([] if level is None else [level])
    _frame(axes, [cost for cost, _, _ in known], heights)
    if level is not None:
        axes.axhline(level, color=paint("gate"), linestyle=(0, (4, 3)), linewidth=1.5)
    _name(axes, found.axis, "change of the metric")
    place_labels(
        figure, axes, [(cost, delta, shorten(each.label, _LABEL)) for cost, delta, each in known], level
    )
    keys = [Key("circle", "bundle", "the gate holds"), Key("cross", "gate", "it does not")]
    if max_drop is not None:
        keys.append(Key("dashed", "gate", "largest drop allowed"))
    return Plot(title, to_svg(figure, f"search{index}", title), tuple(keys))


def latency(timing: Timing) -> Plot:
    """Both distributions, as the share of runs that took no longer."""
    title = "Latency: the share of runs that took no longer"
    figure, (axes,) = new_figure(300)
    sides = ((timing.fp32_runs_ms, "D", "fp32"), (timing.runs_ms, "o", "bundle"))
    for runs, marker, colour in sides:
        shown = runs[:: max(1, len(runs) // _STEPS)]
        shares = [
            100 * (position * max(1, len(runs) // _STEPS) + 1) / len(runs) for position in range(len(shown))
        ]
        axes.step([shown[0], *shown, runs[-1]], [0.0, *shares, 100.0], where="post", color=paint(colour))
        marks = [percentile(runs, share) for share in (50, 95, 99)]
        axes.plot(marks, [50, 95, 99], marker, color=paint(colour), markersize=7, zorder=4)
    slowest = max(percentile(runs, 99) for runs, _, _ in sides)
    fastest = min(runs[0] for runs, _, _ in sides)
    margin = 0.08 * max(slowest - fastest, 0.05 * slowest)
    axes.set_xlim(max(0.0, fastest - margin), slowest + 2 * margin)
    axes.set_ylim(0, 103)
    axes.set_yticks([0, 25, 50, 75, 95], ["0%", "25%", "50%", "75%", "95%"])
    _ticks(axes, "x")
    _name(axes, "milliseconds of one run", "runs no longer")
    keys = (
        Key("circle", "bundle", "compiled, with p50, p95, p99"),
        Key("diamond", "fp32", "FP32, the same"),
    )
    return Plot(title, to_svg(figure, "latency", title), keys)


def noise(layers: Sequence[LayerNoise]) -> Plot | None:
    """Both ratios in the graph's order; None where no layer has any noise."""
    if all(each.own_db is None and each.total_db is None for each in layers):
        return None
    title = "Signal-to-noise ratio by layer"
    figure, (axes,) = new_figure(320)
    for key, marker, colour in (("total_db", "s", "fp32"), ("own_db", "o", "bundle")):
        values = [getattr(each, key) for each in layers]
        numbers = [float("nan") if value is None else value for value in values]
        if key == "total_db":
            axes.plot(range(len(layers)), numbers, color=paint(colour), linewidth=1.2)
        for inside, fill in (("int8", colour), ("float", "paper")):
            chosen = [
                index
                for index, each in enumerate(layers)
                if (each.computes == "float") == (inside == "float")
            ]
            axes.plot(
                chosen, [numbers[index] for index in chosen], marker, linestyle="none", zorder=3,
                markersize=5.5, markerfacecolor=paint(fill), markeredgecolor=paint(colour),
            )  # fmt: skip
    _layer_ticks(axes, [each.role for each in layers])
    _ticks(axes, "y")
    _name(axes, "layer, in the graph's order", "dB")
    keys = [Key("circle", "bundle", "of this layer alone"), Key("square", "fp32", "with all before it")]
    if any(each.computes == "float" for each in layers):
        keys.append(Key("circle", "bundle", "left in float", hollow=True))
    return Plot(title, to_svg(figure, "noise", title), tuple(keys))


def sizes(rows: Sequence[tuple[str, int, int]]) -> Plot:
    """Two stacked bars.

    Args:
        rows: part, and its bytes before and after.
    """
    title = "Size by component"
    figure, (axes,) = new_figure(170)
    colours = ("part1", "part2", "part3", "part4")
    left = [0.0, 0.0]
    for (_, *pair), colour in zip(rows, colours, strict=True):
        widths = [value / 1e6 for value in pair]
        axes.barh(
            [1, 0], widths, left=left, color=paint(colour), height=0.62, edgecolor=paint("paper"), linewidth=1
        )
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks([1, 0], ["FP32", "compiled"])
    axes.grid(visible=False, axis="y")
    _ticks(axes, "x")
    _name(axes, "MB (10\u2076 bytes)", "")
    keys = tuple(Key("square", colour, part) for (part, *_), colour in zip(rows, colours, strict=True))
    return Plot(title, to_svg(figure, "size", title), keys)


def widths(before: Structure, after: Structure) -> Plot:
    """Heads and FFN neurons by layer."""
    title = "Heads and FFN neurons kept by layer"
    figure, panels = new_figure(380, panels=2)
    places = [each.layer for each in before.layers]
    kept = {each.layer: each for each in after.layers}
    for axes, key, name in zip(panels, ("heads", "ffn"), ("heads", "FFN neurons"), strict=True):
        whole = [getattr(each, key) for each in before.layers]
        left = [getattr(kept[place], key) if place in kept else 0 for place in places]
        axes.bar(places, whole, width=0.72, color=paint("paper"), edgecolor=paint("fp32"), linewidth=1.2)
        axes.bar(places, left, width=0.72, color=paint("bundle"))
        step = -(-len(places) // 12)
        axes.set_xticks(places[::step], [f"{place}" for place in places[::step]])
        axes.grid(visible=False, axis="x")
        _ticks(axes, "y")
        _name(axes, "layer" if key == "ffn" else "", name)
    keys = (Key("square", "bundle", "kept"), Key("square", "fp32", "cut", hollow=True))
    return Plot(title, to_svg(figure, "structure", title), keys)


def lengths(found: Lengths) -> Plot:
    """Texts by tokens."""
    title = "Calibration texts by length"
    figure, (axes,) = new_figure(260)
    starts, ends = found.edges[:-1], found.edges[1:]
    bins = [end - start for start, end in zip(starts, ends, strict=True)]
    axes.bar(
        starts,
        found.counts,
        width=bins,
        align="edge",
        color=paint("bundle"),
        edgecolor=paint("paper"),
        linewidth=1,
    )
    axes.axvline(found.median, color=paint("fp32"), linewidth=2)
    axes.grid(visible=False, axis="x")
    _ticks(axes, "x", whole=True)
    _ticks(axes, "y", whole=True)
    _name(axes, "tokens", "texts")
    keys = (Key("square", "bundle", "texts"), Key("line", "fp32", f"median, {found.median:,} tokens"))
    return Plot(title, to_svg(figure, "lengths", title), keys)


def _name(axes: Axes, across: str, upward: str) -> None:
    lines = textwrap.wrap(shorten(across, 2 * _AXIS), _AXIS)
    axes.set_xlabel("\n".join(lines[:_LINES]))
    axes.set_ylabel(upward)


def _frame(axes: Axes, across: Sequence[float], upward: Sequence[float], *, zero: bool = False) -> None:
    """Limits with room for names around the points."""
    low, high = min(across), max(across)
    margin = 0.12 * (high - low) or 0.2 * abs(high) or 1.0
    axes.set_xlim(0.0 if zero else low - margin, high + margin)
    low, high = min(upward), max(upward)
    margin = 0.2 * (high - low) or 0.05 * abs(high) or 0.01
    axes.set_ylim(low - margin, high + margin)
    _ticks(axes, "x")
    _ticks(axes, "y")


def _ticks(axes: Axes, side: str, *, whole: bool = False) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis = axes.xaxis if side == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(nbins=6 if side == "x" else 5, integer=whole))
    axis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{round(value, 10) + 0.0:,.10g}".replace("-", MINUS))
    )


def _layer_ticks(axes: Axes, roles: Sequence[str]) -> None:
    """A tick where a layer of the encoder begins, and fewer where they would collide."""
    first: dict[str, int] = {}
    for index, role in enumerate(roles):
        found = _LAYER.match(role)
        if found:
            first.setdefault(found.group(1), index)
    step = max(1, -(-len(first) // _TICKS))
    names = list(first)[::step]
    axes.set_xticks([first[name] for name in names], names)
    axes.set_xlim(-1, len(roles))
