"""The page as bytes: the same each time, well formed, complete."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from compiler.report.facts import Facts, Search, Trial
from compiler.report.page import places, render, words
from tests.support.report import KINDS, deep, emulated, gpu, hostile, plain, rich, unmeasured

ROOT = Path(__file__).resolve().parents[3]
VOID = {"meta"}
MINUS = "\u2212"


@dataclass
class Element:
    """An element, and the text directly and indirectly inside."""

    tag: str
    attributes: dict[str, str | None]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def find(self, tag: str) -> list[Element]:
        """Every element of a tag below."""
        return [
            found for each in self.children for found in ([each] if each.tag == tag else []) + each.find(tag)
        ]

    def every(self) -> list[Element]:
        """All below."""
        return [found for each in self.children for found in [each, *each.every()]]


class Tree(HTMLParser):
    """Refuses what is not balanced."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), (tag, attrs)
        self.open[-1].children.append(Element(tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(self.open[-1].children[-1])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in [each.tag for each in self.open], f"<{tag}/> closes in SVG alone"
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for each in self.open:
            each.text += data


def parse(page: bytes) -> Element:
    """The tree of a page.

    Raises:
        AssertionError: it is not well formed.
    """
    tree = Tree()
    tree.feed(page.decode("utf-8"))
    tree.close()
    assert tree.open == [tree.root]
    return tree.root


def section(page: Element, name: str) -> Element:
    (found,) = (each for each in page.find("section") if each.attributes.get("id") == name)
    return found


@pytest.fixture(scope="module")
def pages() -> dict[str, bytes]:
    return {name: render(make()) for name, make in KINDS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_well_formed_and_refers_to_what_is_there(pages: dict[str, bytes], kind: str) -> None:
    page = parse(pages[kind])
    identities = Counter(each.attributes["id"] for each in page.every() if "id" in each.attributes)
    assert {name: count for name, count in identities.items() if count > 1} == {}
    (nav,) = page.find("nav")
    anchors = [str(each.attributes["href"]) for each in nav.find("a")]
    sections = [f"#{each.attributes['id']}" for each in page.find("section")]
    assert anchors == sections
    values = [
        str(value)
        for each in page.every()
        for name, value in each.attributes.items()
        if name in ("href", "clip-path", "aria-labelledby")
    ]
    assert {re.sub(r"^(url\()?#|\)$", "", value) for value in values} <= set(identities)
    assert len(page.find("h1")) == len(page.find("main")) == len(page.find("header")) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_plot_has_a_name_and_a_table(pages: dict[str, bytes], kind: str) -> None:
    page = parse(pages[kind])
    figures = page.find("figure")
    assert figures
    for figure in figures:
        (drawing,) = (each for each in figure.find("svg") if each.attributes.get("role") == "img")
        assert drawing.attributes["aria-label"]
        assert drawing.find("text"), "text is text"
        (table,) = figure.find("table")
        assert len(table.find("tr")) > 1
    for table in page.find("table"):
        assert table.find("caption")
        assert all(each.attributes.get("scope") in ("row", "col") for each in table.find("th"))
        assert all(each.text.strip() for each in table.find("td") + table.find("th"))
        widths = {len(each.children) for each in table.find("tr")}
        assert len(widths) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_every_section_says_what_it_is(pages: dict[str, bytes], kind: str) -> None:
    page = parse(pages[kind])
    for each in page.find("section")[1:]:
        (lead,) = (part for part in each.find("p") if part.attributes.get("class") == "lead")
        assert len(lead.text) > 20
        assert len(each.children) > 2


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_small_and_holds_nothing_of_elsewhere(pages: dict[str, bytes], kind: str) -> None:
    page = pages[kind]
    assert len(page) < 400_000
    head = page[: page.index(b"<style>")]
    assert b"content=\"default-src 'none'; style-src 'unsafe-inline'\"" in head
    style = page[page.index(b"<style>") : page.index(b"</style>")]
    assert not re.search(rb"url\(|@import|@font-face|https?:", style)
    assert b"DejaVu" not in page
    assert not re.search(rb"(fill|stroke): #", page), "colours are the page's"
    tree = parse(page)
    assert not any(each.tag in ("script", "img", "link", "iframe") for each in tree.every())


def test_equal_facts_give_equal_bytes(pages: dict[str, bytes]) -> None:
    for kind in ("rich", "hostile"):
        assert render(KINDS[kind]()) == pages[kind]


def test_another_process_writes_the_same_and_says_nothing(pages: dict[str, bytes], tmp_path: Path) -> None:
    """Whatever its matplotlib is configured to do, wherever it may cache, and however it hashes."""
    (tmp_path / "matplotlibrc").write_text("font.size: 31\naxes.facecolor: red\nnonsense: 3\n")
    code = (
        "import hashlib, sys\n"
        "from compiler.report.page import render\n"
        "from tests.support.report import rich\n"
        "early = {'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "page = render(rich())\n"
        "import matplotlib\n"
        "print(hashlib.sha256(page).hexdigest(), early or 'lazy', matplotlib.rcParams['font.size'])\n"
        "print('pyplot' if 'matplotlib.pyplot' in sys.modules else 'objects')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": "7",
            "MPLCONFIGDIR": "/dev/null/nowhere",
            "MPLBACKEND": "nonsense",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    digest = hashlib.sha256(pages["rich"]).hexdigest()
    assert done.stdout.split() == [digest, "lazy", "31.0", "objects"]


def test_what_is_at_a_glance() -> None:
    page = parse(render(rich()))
    glance = section(page, "glance")
    cards = {each.find("h3")[0].text: each.text for each in glance.find("article")}
    assert "4.7x smaller" in cards["Size"]
    assert "0.9083 → 0.9048" in cards["Accuracy"]
    assert f"change {MINUS}0.0035, 95% interval {MINUS}0.0115 to +0.0046" in cards["Accuracy"]
    assert "872 texts" in cards["Accuracy"]
    assert "gate passed, largest drop allowed 0.01" in cards["Accuracy"]
    assert "3.10x as fast as FP32 in the same runtime" in cards["Latency"]
    assert "1 text of 128 tokens, every core, Intel(R) Xeon(R)" in cards["Latency"]
    assert "99.31%" in cards["Agreement with FP32"]
    assert "ran here" in cards["Evidence of accuracy"]
    assert "2" in cards["Warnings"]


def test_what_was_not_measured_is_said_with_its_reason() -> None:
    text = parse(render(unmeasured())).text
    assert "no evaluation data was given" in text
    assert "the machine that compiled is not the target, x86-64-vnni: run bertc bench on the device" in text
    assert "Nothing was calibrated." in text
    assert "The runtime's model was not read back." in text
    for name in ("latency", "noise"):
        assert "Not measured: " in section(parse(render(unmeasured())), name).text


def test_a_gpu_target_has_its_engine_and_says_that_it_was_simulated() -> None:
    page = parse(render(gpu()))
    assert "no engine was inspected, which takes the GPU" in section(page, "placement").text
    assert "by other kernels than the device's" in section(page, "glance").text
    tried = section(page, "tried")
    assert not tried.find("figure"), "no point has a time"
    assert "shipped as a fallback, not run here" in tried.text


def test_an_emulated_failure_is_said() -> None:
    page = parse(render(emulated()))
    assert "Accuracy gate: failed" in page.find("header")[0].text
    assert "QEMU 9.2.0; the bundle's self-test passes there" in section(page, "glance").text
    assert "the same model was simulated: accuracy 0.9048" in section(page, "accuracy").text


def test_layers_that_pruning_removed_are_said_to_be() -> None:
    structure = section(parse(render(rich())), "structure")
    rows = {row.children[0].text: [cell.text for cell in row.children[1:]] for row in structure.find("tr")}
    assert rows["layer 4 (removed)"][:3] == ["12 → 0", "32", "1,536 → 0"]
    assert rows["layer 1"][:3] == ["12 → 10", "32", "1,536 → 1,280"]
    assert "Nothing was pruned" in section(parse(render(deep())), "structure").text


def test_the_rest_of_the_files_is_never_less_than_nothing() -> None:
    size = section(parse(render(deep())), "size")
    rows = {row.children[0].text: [cell.text for cell in row.children[1:]] for row in size.find("tr")}
    assert rows["rest of the files"] == ["0", "0", words.NOTHING]


def test_points_without_a_place_are_in_the_table_alone() -> None:
    tried = section(parse(render(rich())), "tried")
    table = tried.find("table")[0]
    rows = {row.children[1].text: [cell.text for cell in row.children] for row in table.find("tr")}
    assert rows["bf16 on openvino"][0] == words.NOTHING
    assert rows["bf16 on openvino"][-3:] == ["not measured", "not measured", "slower, so not run"]
    assert rows["int8 on openvino"][0] == "2"


@pytest.mark.parametrize(
    "trials",
    [
        (),
        (Trial("1x", None, None, None, False),),
        (Trial("1x", 1.0, -0.0, 1.0, True),),
        (Trial("1x", float("nan"), 0.0, 1.0, True), Trial("2x", 2.0, float("inf"), 1.0, False)),
        tuple(Trial("the same place", 1.0, 0.0, 1.0, True) for _ in range(12)),
    ],
    ids=["none", "unknown", "one", "not finite", "crowded"],
)
def test_searches_of_any_outcome(trials: tuple[Trial, ...]) -> None:
    facts: Facts = replace(plain(), searches=(Search("Search", "cost", trials),))
    assert "Search" in section(parse(render(facts)), "tried").text


def test_hostile_names_are_cut_where_they_are_headings() -> None:
    page = parse(render(replace(hostile(), manifest=replace(plain().manifest, name="x" * 1000))))
    assert len(page.find("h1")[0].text) <= 120
    assert "x" * 1000 in section(page, "options").text


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ([], ""),
        (["layer0.query"], "query in layer 0"),
        (
            [f"layer{n}.{kind}" for n in (3, 0, 1, 2) for kind in ("key", "value")],
            "key, value in layers 0 to 3",
        ),
        (
            ["layer2.ffn_down", "layer5.ffn_down", "layer6.ffn_down", "head", "head"],
            "ffn_down in layers 2, 5, 6; head (2)",
        ),
    ],
)
def test_places_in_words(roles: list[str], expected: str) -> None:
    assert places.in_words(roles) == expected


def test_numbers_in_words() -> None:
    assert [words.delta(each) for each in (-0.00351, 0.0, -0.00001, 0.01, float("nan"))] == [
        f"{MINUS}0.0035",
        "0.0000",
        "0.0000",
        "+0.0100",
        "not finite",
    ]
    assert [words.megabytes(each) for each in (0, 4000, 22_940_000)] == ["0", "4.0\xa0kB", "22.9\xa0MB"]
    assert [words.milliseconds(each) for each in (0.12345, 2.714, 214.96)] == ["0.123", "2.71", "215.0"]
    assert words.plain({"a": [1, 2.5], "b": None}) == "a 1, 2.5, b not set"
