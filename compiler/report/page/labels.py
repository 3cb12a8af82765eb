"""Names beside the points of a scatter plot, where there is room for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from compiler.report.page.drawing import FONT, paint

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Box: TypeAlias = tuple[float, float, float, float]

_GAP: Final = 8.0
_MARKER: Final = 6.0


def place_labels(figure: Figure, axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write each point's name beside it, or its number in the order given, or nothing.

    A name is written where it covers no point and no other name, and stays within the axes.

    Args:
        figure: with its final layout but for the names.
        axes: whose limits are final.
        points: x, y and name.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    frame = axes.get_window_extent(renderer)
    room = (frame.x0, frame.y0, frame.x1, frame.y1)
    spots = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [(x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER) for x, y in spots]
    for number, ((x, y), (_, _, name)) in enumerate(zip(spots, points, strict=True), start=1):
        for text in (name, f"{number}"):
            width = _width(axes, renderer, text)
            found = next((box for box in _around(x, y, width) if _fits(box, room, taken)), None)
            if found is not None:
                axes.annotate(
                    text, (found[0], (found[1] + found[3]) / 2), xycoords="figure pixels",
                    va="center", color=paint("ink"), annotation_clip=False,
                )  # fmt: skip
                taken.append(found)
                break


def _width(axes: Axes, renderer: object, text: str) -> float:
    probe = axes.text(0, 0, text)
    width = probe.get_window_extent(renderer).width  # type: ignore[arg-type]
    probe.remove()
    return float(width)


def _around(x: float, y: float, width: float) -> list[Box]:
    half = FONT * 0.6
    below, above = y - _GAP - FONT, y + _GAP + FONT
    lefts = (x + _GAP, x - _GAP - width)
    boxes = [(left, y - half, left + width, y + half) for left in lefts]
    for middle in (above - FONT / 2, below + FONT / 2, above + FONT / 2, below - FONT / 2):
        for left in (x - width / 2, x, x - width):
            boxes.append((left, middle - half, left + width, middle + half))
    return boxes


def _fits(box: Box, room: Box, taken: Sequence[Box]) -> bool:
    inside = box[0] >= room[0] and box[1] >= room[1] and box[2] <= room[2] and box[3] <= room[3]
    return inside and not any(
        box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in taken
    )
