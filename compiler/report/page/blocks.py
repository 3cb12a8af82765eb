"""What a page is made of: sections of figures, tables and notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["text", "number", "code"]
Mark: TypeAlias = Literal["circle", "square", "diamond", "cross", "line", "dashed"]
State: TypeAlias = Literal["", "good", "bad", "unknown"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, with the unit, and how its cells are set."""

    name: str
    kind: Kind = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text, the first cell of each being its heading."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    kind: Literal["table"] = "table"


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a plot's legend; `colour` is the name of a CSS variable."""

    mark: Mark
    colour: str
    label: str
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing as inline SVG, what it is called, and its legend."""

    title: str
    svg: str
    keys: tuple[Key, ...] = ()


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot and the numbers behind it, folded away where they are many."""

    plot: Plot
    table: Table
    kind: Literal["figure"] = "figure"


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence in place of what is not there, or beside what is."""

    text: str
    kind: Literal["note"] = "note"


Block: TypeAlias = Figure | Table | Note


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, what is to be seen under it and how it was measured, and that."""

    id: str
    title: str
    lead: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """One number at a glance: what it is, the number, and what one must know to read it."""

    title: str
    value: str
    details: tuple[str, ...]
    state: State = ""


def pairs(caption: str, heading: tuple[str, str], rows: Sequence[tuple[str, str]]) -> Table:
    """A table of names and values."""
    return Table(caption, (Column(heading[0]), Column(heading[1])), tuple(rows))
