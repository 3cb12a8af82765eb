"""Strings that are awkward to show: of many languages, and that mean harm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

LANGUAGES: Final = (
    "négatif", "sehr gut", "нейтрально", "ουδέτερο", "中立的评论", "とても良い", "매우 좋음", "محايد جدا",
    "ניטרלי לגמרי", "तटस्थ", "เป็นกลาง", "trung lập \U0001f642",
)  # fmt: skip

HOSTILE: Final = (
    "<script>alert(1)</script>",
    "</style></svg><img src=x onerror=alert(2)>",
    "]]><!-- \" ' ` onload=alert(3) x=",
    "$x^2$ $\\frac{1}{0}$ \\undefined{",
    "\u202egnp.exe \u2066\u200fmixed\u200e \x00\x1b[31m\x85 \ud800 \uffff",
    "a very long name " * 60,
    "{{ 7 * 7 }} {% raw %} {# #}",
    "javascript:alert(4) data:text/html,<b>",
    "&lt;b&gt; &amp;#60; #000001 url(#x) font: 1px;",
    "unbroken" * 125,
)


class Strings:
    """Each hostile string in turn, numbered so that keys of one table differ."""

    def __init__(self) -> None:
        self._given = 0

    def __call__(self) -> str:
        self._given += 1
        return f"{HOSTILE[self._given % len(HOSTILE)]}{self._given}"


def poisoned(value: Any, given: Strings) -> Any:
    """A JSON value with harm in its strings, and in the keys of its tables that have no fixed ones."""
    if isinstance(value, Mapping):
        kept = {
            "where",
            "reason",
            "modified",
            "options",
            "config",
            "passes",
            "data",
            "tools",
            "name",
            "texts",
            "sha256",
            "counts",
            "declined",
            "cpu",
            "model",
        }
        return {key if key in kept else given(): poisoned(each, given) for key, each in value.items()}
    if isinstance(value, list):
        return [poisoned(each, given) for each in value]
    return given() if isinstance(value, str) else value
