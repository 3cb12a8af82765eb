"""matplotlib's figures as SVG that lives in a page: its font, its colours, its width."""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH: Final = 440.0
"""Of every plot, in the units of its viewBox."""
FONT: Final = 14.0
"""The page sets text no larger than this, in the same units, so nothing outgrows its place."""

# matplotlib knows no CSS variables: it draws with these, and each becomes var(--NAME).
_VARIABLES: Final = (
    *("ink", "muted", "grid", "paper", "fp32", "bundle", "gate"),
    *("part1", "part2", "part3", "part4"),
)
_PAINTS: Final = {name: f"#0000{index + 1:02x}" for index, name in enumerate(_VARIABLES)}
_NAMES: Final = {paint: name for name, paint in _PAINTS.items()}
_PAINT: Final = re.compile("#0000[0-9a-f]{2}")
_FONT_STYLE: Final = re.compile(r"font(-\w+)?:[^;]*;?\s*")
_LONG: Final = re.compile(r"-?\d+\.\d{3,}")
_SPACES: Final = re.compile(r"\s+")
_LOCAL: Final = re.compile(r"(#)([A-Za-z][\w.-]*)")
_SVG: Final = "{http://www.w3.org/2000/svg}"
_HREF: Final = "{http://www.w3.org/1999/xlink}href"
_SCALE: Final = 72.0


def paint(name: str) -> str:
    """The colour to draw with for a CSS variable of the page."""
    return _PAINTS[name]


@contextmanager
def drawing() -> Iterator[None]:
    """Within, matplotlib may be imported and draws in the page's way, whatever its user has configured.

    Its words about its caches, and about letters that the font by which it measures text lacks, reach nobody.
    """
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mpl = _import()
            with mpl.rc_context():
                mpl.rcdefaults()
                for key, value in _style().items():
                    mpl.rcParams[key] = value
                yield
    finally:
        logger.setLevel(level)


def new_figure(height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    """An empty figure of the common width, its panels one under another."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / _SCALE, height / _SCALE), dpi=_SCALE, layout="constrained")
    axes = [figure.add_subplot(panels, 1, index + 1) for index in range(panels)]
    return figure, axes


def to_svg(figure: Figure, name: str, title: str) -> str:
    """The figure as an <svg> element.

    Args:
        figure: drawn within `drawing`.
        name: no other plot of the page has it; what the SVG refers to within itself is named after it.
        title: for who cannot see it.
    """
    import io

    import matplotlib as mpl

    buffer = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in root.iter():
        for child in [each for each in parent if each.tag not in _kept_tags()]:
            parent.remove(child)
    referred = set(_LOCAL.findall(" ".join(_references(root))))
    for element in root.iter():
        _adapt(element, name, {each for _, each in referred})
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-label": title,
    }
    return ElementTree.tostring(root, encoding="unicode")


def _import() -> ModuleType:
    """matplotlib, which refuses to be imported where MPLBACKEND names a backend that it does not know."""
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib as mpl
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    return mpl


def _style() -> dict[Any, Any]:
    return {
        "axes.axisbelow": True,
        "axes.edgecolor": paint("muted"),
        "axes.grid": True,
        "axes.labelcolor": paint("ink"),
        "axes.labelsize": FONT,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "font.family": ["DejaVu Sans"],
        "font.size": FONT,
        "grid.color": paint("grid"),
        "lines.linewidth": 2.0,
        "svg.fonttype": "none",
        "text.color": paint("ink"),
        "text.parse_math": False,
        "xtick.color": paint("muted"),
        "xtick.labelcolor": paint("ink"),
        "xtick.labelsize": FONT,
        "ytick.color": paint("muted"),
        "ytick.labelcolor": paint("ink"),
        "ytick.labelsize": FONT,
    }


def _kept_tags() -> frozenset[str]:
    return frozenset(
        _SVG + tag for tag in ("svg", "g", "path", "use", "defs", "clipPath", "rect", "text", "tspan")
    )


def _references(root: ElementTree.Element) -> Iterator[str]:
    for element in root.iter():
        yield element.get(_HREF, "")
        yield element.get("clip-path", "")


def _adapt(element: ElementTree.Element, name: str, referred: set[str]) -> None:
    element.tag = element.tag.removeprefix(_SVG)
    if element.tag not in ("text", "tspan"):
        element.text = None
    element.tail = None
    own = element.attrib.pop("id", None)
    if own in referred:
        element.set("id", f"{name}-{own}")
    if _HREF in element.attrib:
        element.set("href", _LOCAL.sub(rf"\1{name}-\2", element.attrib.pop(_HREF)))
    if "clip-path" in element.attrib:
        element.set("clip-path", _LOCAL.sub(rf"\1{name}-\2", element.attrib["clip-path"]))
    for key in {"d", "x", "y", "transform", "width", "height"} & set(element.attrib):
        element.set(key, _short(element.attrib[key]))
    if "style" in element.attrib:
        style = _FONT_STYLE.sub("", element.attrib["style"]).strip()
        element.set("style", _PAINT.sub(lambda found: f"var(--{_NAMES[found.group()]})", style))


def _short(numbers: str) -> str:
    """To a hundredth of a unit, which nobody sees."""
    rounded = _LONG.sub(lambda found: f"{float(found.group()):.2f}".rstrip("0").rstrip("."), numbers)
    return _SPACES.sub(" ", rounded).strip()
