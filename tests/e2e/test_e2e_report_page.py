"""report.html in a real browser, of every kind of compile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compiler.report.page import render
from tests.support.browser import browser, opened
from tests.support.report import KINDS

PHONE, DESKTOP = 360, 1280
WIDTHS = (PHONE, DESKTOP)

CONTRAST = """() => {
  const parse = text => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return found.length < 4 ? [...found, 1] : found;
  };
  const light = rgb => rgb.slice(0, 3).map(each => each / 255)
    .map(each => each <= 0.03928 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4)
    .reduce((sum, each, index) => sum + each * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const colour = parse(getComputedStyle(each).backgroundColor);
      if (colour[3] === 1) return colour;
    }
    return [255, 255, 255, 1];
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const bad = [];
  let seen = 0;
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, style = getComputedStyle(element);
    if (!walker.currentNode.data.trim() || style.visibility !== "visible") continue;
    if (!element.getClientRects().length) continue;
    const pair = [parse(element.closest("svg") ? style.fill : style.color), behind(element)].map(light);
    const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
    seen += 1;
    if (ratio < 4.5) bad.push([walker.currentNode.data.trim().slice(0, 40), ratio]);
  }
  return [seen, bad];
}"""

TEXT_OF_PLOTS = """() => [...document.querySelectorAll(".plot svg")].map(svg => {
  const frame = svg.getBoundingClientRect();
  const boxes = [...svg.querySelectorAll("text")].map(each => {
    const box = each.getBoundingClientRect();
    const [left, right] = [box.left - frame.left, box.right - frame.left];
    return [each.textContent, left, box.top - frame.top, right, box.bottom - frame.top];
  });
  return {name: svg.getAttribute("aria-label"), width: frame.width, height: frame.height, boxes};
})"""

HARM = """() => {
  const every = [...document.querySelectorAll("*")];
  const attributes = every.flatMap(each => [...each.attributes])
    .map(own => [own.ownerElement.localName, own.name, own.value]);
  return {
    tags: [...new Set(every.map(each => each.localName))],
    handlers: attributes.filter(([, name]) => name.startsWith("on")),
    addresses: attributes
      .filter(([, name]) => ["href", "src", "srcset", "xlink:href", "action"].includes(name))
      .filter(([, , value]) => !value.startsWith("#")),
    styles: attributes
      .filter(([, name, value]) => name === "style" && /url\\(|expression|@import/.test(value)),
    strangers: [...document.querySelectorAll("svg *")]
      .filter(each => each.namespaceURI !== "http://www.w3.org/2000/svg").length,
  };
}"""

TAGS = {
    each
    for line in (
        "html head meta title style body header nav main section article footer p h1 h2 h3 span code",
        "dl div dt dd ul li a figure figcaption details summary table caption thead tbody tr th td",
        "svg g path use defs clippath rect text tspan circle",
    )
    for each in line.split()
}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def page_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The file of each kind, rendered once."""
    folder = tmp_path_factory.mktemp("pages")

    def get(kind: str) -> Path:
        path = folder / f"{kind}.html"
        if not path.exists():
            path.write_bytes(render(KINDS[kind]()))
        return path

    return get


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    """Every kind of facts."""
    name: str = request.param
    return name


def test_it_opens_quietly_and_asks_for_nothing(
    chromium: Any, page_of: Callable[[str], Path], kind: str
) -> None:
    with opened(chromium, page_of(kind)) as found:
        assert found.requests == [page_of(kind).as_uri()]
        assert found.errors == []
        assert found.dialogs == []
        assert found.page.title().endswith(" - bertc report")


@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_its_window(chromium: Any, page_of: Callable[[str], Path], kind: str, width: int) -> None:
    with opened(chromium, page_of(kind), width=width) as found:
        within = found.page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert within[0] <= within[1]
        columns = found.page.evaluate(
            "[...document.querySelectorAll('.plot, .card, h1, .note, .lead')]"
            ".map(each => each.getBoundingClientRect().right)"
        )
        assert max(columns) <= width


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_its_text_stands_out(
    chromium: Any, page_of: Callable[[str], Path], kind: str, width: int, dark: bool
) -> None:
    with opened(chromium, page_of(kind), width=width, dark=dark) as found:
        seen, faint = found.page.evaluate(CONTRAST)
        assert seen > 100
        assert faint == []
        paper = found.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(20, 23, 28)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_words_of_its_plots_are_whole_and_apart(
    chromium: Any, page_of: Callable[[str], Path], kind: str, width: int
) -> None:
    with opened(chromium, page_of(kind), width=width) as found:
        plots = found.page.evaluate(TEXT_OF_PLOTS)
    assert len(plots) >= 1
    for plot in plots:
        boxes = plot["boxes"]
        assert len(boxes) >= 4, plot["name"]
        for index, (text, left, top, right, bottom) in enumerate(boxes):
            inside = left >= -1 and top >= -1 and right <= plot["width"] + 1 and bottom <= plot["height"] + 1
            assert inside, (plot["name"], text, left, top, right, bottom, plot["width"], plot["height"])
            for other in boxes[:index]:
                across = min(right, other[3]) - max(left, other[1])
                along = min(bottom, other[4]) - max(top, other[2])
                # A line of text has room above and below its letters.
                assert across <= 1 or along <= 4, (plot["name"], text, other[0], across, along)


def test_nothing_that_it_shows_runs(chromium: Any, page_of: Callable[[str], Path]) -> None:
    with opened(chromium, page_of("hostile")) as found:
        harm = found.page.evaluate(HARM)
        shown = found.page.inner_text("body")
    tags = {each.lower() for each in harm.pop("tags")}
    assert tags <= TAGS
    assert harm == {"handlers": [], "addresses": [], "styles": [], "strangers": 0}
    for text in (
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(2)>",
        "$x^2$",
        "&lt;b&gt;",
        "{{ 7 * 7 }}",
    ):
        assert text in shown
    assert not {"\u202e", "\u2066", "\x1b"} & set(shown)


def test_its_policy_lets_no_script_run(chromium: Any, page_of: Callable[[str], Path], tmp_path: Path) -> None:
    told = tmp_path / "told.html"
    text = page_of("plain").read_text(encoding="utf-8")
    told.write_text(
        text.replace("</main>", "<script>document.title = 'ran'</script></main>"), encoding="utf-8"
    )
    with opened(chromium, told) as found:
        assert found.page.title() != "ran"
        assert any("Content Security Policy" in each for each in found.errors)


def test_what_is_folded_away_is_printed(chromium: Any, page_of: Callable[[str], Path]) -> None:
    with opened(chromium, page_of("deep"), dark=True) as found:
        found.page.evaluate("document.querySelectorAll('details').forEach(each => each.open = false)")
        row = found.page.locator("#noise table tbody tr").last
        assert not row.is_visible()
        found.page.emulate_media(media="print")
        assert row.is_visible()
        assert not found.page.locator("nav").is_visible()
        assert found.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        seen, faint = found.page.evaluate(CONTRAST)
        assert seen > 100
        assert faint == []
