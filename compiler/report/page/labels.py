"""Names beside the points of a scatter plot, where there is room for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from compiler.report.page.drawing import FONT, paint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Align: TypeAlias = Literal["left", "center", "right"]
Box: TypeAlias = tuple[float, float, float, float]

_GAP: Final = 8.0
_MARKER: Final = 6.0
_LINE: Final = 2.0
_HALF: Final = 0.6 * FONT


def place_labels(
    figure: Figure, axes: Axes, points: Sequence[tuple[float, float, str]], level: float | None = None
) -> None:
    """Write each point's name beside it, or its number in the order given, or nothing.

    A name is written where it covers no point and no other name, and stays within the axes.

    Args:
        figure: with its final layout but for the names.
        axes: whose limits are final.
        points: x, y and name.
        level: y of a line across the axes, which no name covers either.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    frame = axes.get_window_extent(renderer)
    room = (frame.x0, frame.y0, frame.x1, frame.y1)
    spots = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [(x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER) for x, y in spots]
    if level is not None:
        height = axes.transData.transform((points[0][0], level))[1]
        taken.append((room[0], height - _LINE, room[2], height + _LINE))
    for number, ((x, y), (_, _, name)) in enumerate(zip(spots, points, strict=True), start=1):
        for text in (name, f"{number}"):
            width = _width(axes, renderer, text)
            places = ((anchor, align, _box(*anchor, align, width)) for anchor, align in _around(x, y))
            found = next((each for each in places if _fits(each[2], room, taken)), None)
            if found is not None:
                anchor, align, box = found
                axes.annotate(
                    text, anchor, xycoords="figure pixels", ha=align, va="center",
                    color=paint("ink"), annotation_clip=False,
                )  # fmt: skip
                taken.append(box)
                break


def _width(axes: Axes, renderer: object, text: str) -> float:
    probe = axes.text(0, 0, text)
    width = probe.get_window_extent(renderer).width  # type: ignore[arg-type]
    probe.remove()
    return float(width)


def _around(x: float, y: float) -> Iterator[tuple[tuple[float, float], Align]]:
    """Where a name may be, the best place first: what it is aligned to, its middle, and how."""
    yield (x + _GAP, y), "left"
    yield (x - _GAP, y), "right"
    for away in (_GAP + FONT / 2, _GAP + 1.5 * FONT):
        for middle in (y + away, y - away):
            yield (x, middle), "center"
            yield (x, middle), "left"
            yield (x, middle), "right"


def _box(x: float, y: float, align: Align, width: float) -> Box:
    left = x - {"left": 0.0, "center": width / 2, "right": width}[align]
    return left, y - _HALF, left + width, y + _HALF


def _fits(box: Box, room: Box, taken: Sequence[Box]) -> bool:
    inside = box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]
    return inside and not any(
        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in taken
    )
