"""`bertc diff` in columns, for people."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from targets.bundle.schema import Role
from targets.cli.diff_words import change, shown, summary
from targets.diff.compare import CONTENT, BundleDiff
from targets.diff.rows import Row

_LEAST: Final = 80
_MOST: Final = 100
_LABEL: Final = 0.34
_VALUE: Final = 0.2
_INDENT: Final = 2
_LONGEST: Final = 2000
_MOST_LINES: Final = 4
_HEADER: Final = ("A", "B", "change")
_ROLES: Final[Mapping[Role, str]] = {
    "model": "the model",
    "tokenizer": "the tokenizer",
    "selftest": "the self-test",
}

Cells = tuple[str, ...]


def lines(found: BundleDiff, everything: bool) -> Iterator[str]:
    """What `bertc diff` prints, in 80 to 100 columns as the terminal has them.

    Args:
        found: the comparison.
        everything: whether what is equal is shown too.
    """
    width = max(_LEAST, min(_MOST, shutil.get_terminal_size((_MOST, 24)).columns))
    sections = [(each, each.rows if everything else each.differing) for each in found.sections]
    cells = [[_cells(row) for row in rows] for _, rows in sections]
    columns = _columns([each for rows in cells for each in rows if _fits(each, width)], width)
    yield from _heading(found, width)
    for (section, rows), texts in zip(sections, cells, strict=True):
        if rows:
            yield ""
            yield _joined((section.name, *_HEADER), columns)
            for each in texts:
                yield from _row(each, columns, width)
            for note in section.notes:
                yield from _wrapped(note, width, " " * _INDENT + "! ")
    equal = [(section.name, len(section.rows) - len(section.differing)) for section, _ in sections]
    yield ""
    alike = ", ".join(f"{name} {count}" for name, count in equal if count)
    yield from _wrapped(alike or "nothing", width, "equal: " if everything else "equal, shown by --all: ")


def _heading(found: BundleDiff, width: int) -> Iterator[str]:
    for letter, each in (("A", found.a), ("B", found.b)):
        path = each["path"].replace("\n", "\\n")
        yield f"{letter}  {path}"
        yield from _wrapped(_named(each), width, "   ")
    yield ""
    yield from _wrapped(_content(found), width, "")
    rows = list(summary(found))
    label = max(len(name) for name, _ in rows)
    for name, text in rows:
        yield from _wrapped(text, width, f"{' ' * _INDENT}{name:<{label}}  ")


def _named(identity: Mapping[str, Any]) -> str:
    what = f"{identity['name']}: {identity['precision']} for {identity['target']} on {identity['runtime']}"
    return f"{what}, id {identity['id'][:12]}"


def _content(found: BundleDiff) -> str:
    if found.a["id"] == found.b["id"]:
        return "the same bundle: bundle.json is the same, byte for byte"
    if found.same_content:
        digest = found.a["content_digest"].removeprefix("sha256:")[:12]
        return f"the same model, tokenizer and self-test, byte for byte (content digest {digest})"
    same = [_ROLES[each] for each in CONTENT if each not in found.changed]
    other = [_ROLES[each] for each in found.changed]
    text = f"{_listed(other)} differ{'s' if len(other) == 1 else ''}"
    return f"{text}, {_listed(same)} {'is' if len(same) == 1 else 'are'} the same" if same else text


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _cells(row: Row) -> Cells:
    label = row.label[:_LONGEST]
    if row.roles:
        label = f"{len(row.roles)} product{'s' if len(row.roles) > 1 else ''}, {label}"
    return label, shown(row, row.a), shown(row, row.b), change(row)


def _row(cells: Cells, columns: Sequence[int], width: int) -> Iterator[str]:
    """In one line if that is wide enough, else the label above, or all of it one below the other."""
    line = _joined((" " * _INDENT + cells[0], *cells[1:]), columns)
    below = _joined(("", *cells[1:]), columns)
    if _fits(cells, width) and len(line) <= width:
        yield line
    elif _fits(("", *cells[1:]), width) and len(below) <= width:
        yield from _wrapped(cells[0], width, " " * _INDENT)
        yield below
    else:
        yield from _stacked(cells, width)


def _fits(cells: Cells, width: int) -> bool:
    return len(cells[0]) <= _LABEL * width and all(len(each) <= _VALUE * width for each in cells[1:3])


def _columns(rows: Sequence[Cells], width: int) -> tuple[int, ...]:
    """Widths of label, A and B."""
    widths = [max((len(each[place]) for each in rows), default=8) for place in range(3)]
    return min(widths[0] + _INDENT, width), max(widths[1], 8), max(widths[2], 8)


def _joined(cells: Cells, columns: Sequence[int]) -> str:
    padded = [f"{cell:<{column}}" for cell, column in zip(cells, columns, strict=False)]
    return "  ".join([*padded, cells[-1]]).rstrip()


def _stacked(cells: Cells, width: int) -> Iterator[str]:
    """A row whose values are too long to stand side by side."""
    label, a, b, what = cells
    indent = " " * _INDENT
    yield from _wrapped(label, width, indent)
    if a == b:
        yield from _wrapped(a, width, f"{indent * 2}= ")
        return
    yield from _wrapped(a, width, f"{indent * 2}A ")
    yield from _wrapped(b, width, f"{indent * 2}B ")
    if what:
        yield from _wrapped(what, width, f"{indent * 2}  ")


def _wrapped(text: str, width: int, first: str) -> list[str]:
    """Lines of at most `width`, `first` before the first and as much space before the others."""
    return textwrap.wrap(
        text,
        width,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        max_lines=_MOST_LINES,
        placeholder=" ...",
        break_on_hyphens=False,
    )
