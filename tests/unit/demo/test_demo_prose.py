"""The text of the demo is prose, the same on every run, and its two parts are disjoint."""

from __future__ import annotations

import re
import sys

import pytest

from compiler.demo.prose import TOPICS, passages
from compiler.demo.run import CALIBRATION_TEXTS, demo_texts
from targets.errors import UsageError

TOPIC = """
The "raise" statement
*********************

   raise_stmt ::= "raise" [expression]

If no expressions are present, **raise** re-raises the exception that
is *currently* being handled. [1] Otherwise it evaluates one, e.g. a
class or an instance of one.

* A list item is a sentence like any other one.

   >>> raise ValueError

      Indented examples are not taken as text here.

Too short.

this paragraph does not begin as a sentence does.

A call like print(x) == 3 is code and not prose at all.
"""


def test_only_sentences_are_left() -> None:
    found = " ".join(passages({"raise": TOPIC}))
    assert "If no expressions are present, raise re-raises the exception that is currently being" in found
    assert "handled." in found
    assert "Otherwise it evaluates one, e.g. a class or an instance of one." in found
    assert "A list item is a sentence like any other one." in found
    for gone in ("statement", "::=", ">>>", "Indented", "Too short", "this paragraph", "print", "*", "[1]"):
        assert gone not in found


def test_a_passage_is_there_once_and_the_order_does_not_depend_on_the_topics() -> None:
    one = "The first of these sentences stands alone."
    two = "The second of these sentences is elsewhere."
    texts = passages({"a": one, "b": f"{two}\n\n{one}", "c": "\n\n"})
    assert sorted(texts) == [one, two]
    assert passages({"b": f"{one}\n\n{two}"}) == texts
    assert passages({}) == []


def test_the_documentation_of_this_python_is_enough() -> None:
    calibration, evaluation = demo_texts()
    assert len(calibration) == CALIBRATION_TEXTS == 300
    assert len(evaluation) >= 150
    assert not set(calibration) & set(evaluation)
    assert len(set(calibration)) == len(calibration)
    words = sorted(len(text.split()) for text in calibration)
    assert words[0] >= 5
    assert words[-1] > 3 * words[len(words) // 2]
    for text in (*calibration, *evaluation):
        assert text.isprintable()
        assert re.fullmatch(r"[A-Z].*[.!?]", text)


def test_a_python_without_documentation_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, TOPICS, None)
    with pytest.raises(UsageError, match=TOPICS):
        passages()


def test_too_little_documentation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compiler.demo.run.passages", lambda: ["One sentence is not enough."])
    with pytest.raises(UsageError, match="gives 1 passages"):
        demo_texts()
