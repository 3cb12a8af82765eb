"""`make clients`: what is compared and how it is shown; the documentation shows the code that runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.clients import ask
from tools.clients.compare import Compared, decisions
from tools.clients.page import SNIPPETS, packages, page, tables

ROOT = Path(__file__).resolve().parent.parent.parent.parent
ROWS = (
    Compared("tiny|onnxruntime", "tokenizer"),
    Compared("tiny|onnxruntime", "optimum_onnxruntime", 0.0),
    Compared("tiny|openvino", "optimum_openvino", 2e-5),
    Compared("tiny|openvino", "optimum_openvino defaults", 0.03, 1),
    Compared("small|openvino", "optimum_openvino", error="ValueError: no"),
)


def code_of(page_text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page_text, re.MULTILINE | re.DOTALL)


def test_what_is_more_than_a_client_may_differ() -> None:
    assert [row.wrong for row in ROWS] == [False, False, True, False, True]
    assert Compared("x|openvino", "tokenizer", answers=1).wrong
    assert Compared("x|openvino", "optimum_openvino", 0.0, 1).wrong


def test_tables() -> None:
    first, second = tables(ROWS).split("\n\n")
    assert [cell.strip() for cell in first.splitlines()[2].split("|")[1:-1]] == ["tiny", "same ids", "0"]
    assert "on openvino" in second
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in second.splitlines()[2:]]
    assert lines == [["tiny", "2.0e-05", "3.0e-02, 1 other answer"], ["small", "fails", ""]]
    assert packages({"torch": "2.13.0+cpu", "numpy": "2.4.6"}) == "torch 2.13.0, numpy 2.4.6"


@pytest.mark.parametrize(
    ("task", "problem", "outputs", "expected"),
    [
        ("text-classification", "single_label_classification", {"logits": [0.1, 0.3]}, [1]),
        ("text-classification", "multi_label_classification", {"logits": [0.1, -0.3]}, [1, 0]),
        ("text-classification", "regression", {"logits": [0.1]}, []),
        ("token-classification", None, {"logits": [[0.1, 0.3], [2, 1]]}, [1, 0]),
        ("question-answering", None, {"start_logits": [1, 2, 0], "end_logits": [0, 0, 1]}, [2, 1]),
        ("feature-extraction", None, {"sentence_embedding": [0.1, 0.3]}, []),
    ],
)
def test_decisions(task: str, problem: str | None, outputs: dict[str, Any], expected: list[int]) -> None:
    arrays = {name: np.asarray(value) for name, value in outputs.items()}
    assert decisions(task, arrays, problem) == expected


def test_every_snippet_is_of_the_example_and_ends_with_its_outputs() -> None:
    for file in SNIPPETS.glob("*.py"):
        text = file.read_text("utf-8")
        assert text.count(ask.FOLDER) == 1, file.name
        assert text.count(ask.TEXT) == 1, file.name
        assert text.rstrip().splitlines()[-1].startswith("outputs = "), file.name


def test_a_pair_as_each_client_takes_it() -> None:
    pair = ("a", "it's b")
    assert ask.literal(pair, "optimum_openvino") == "'a', \"it's b\""
    assert ask.literal(pair, "pipeline_openvino") == "{'text': 'a', 'text_pair': \"it's b\"}"
    assert ask.literal("a", "sentences_openvino") == "'a'"
    assert ask.literal(["a", "b"], "sentences_openvino") == "['a', 'b']"


def test_answers_without_arrays_are_kept_and_arrays_lose_their_batch() -> None:
    found = {"label": "x", "score": 0.5}
    assert ask.parts([found]) == ({}, found)
    assert ask.parts(found) == ({}, found)
    arrays, answer = ask.parts({"logits": np.zeros((1, 3)), "loss": None})
    assert (arrays["logits"].shape, answer) == ((3,), None)
    assert ask.parts(np.zeros(4))[0]["sentence_embedding"].shape == (4,)


def test_the_page_is_what_the_tool_writes() -> None:
    """Apart from its tables, which are of a run."""
    shown = (ROOT / "docs" / "clients.md").read_text("utf-8")
    written = page([])
    assert "{" not in re.sub(r"```.*?```", "", written, flags=re.DOTALL)
    before, after = written.split("make clients        #")[0], written.split("`make clients` installs")[1]
    assert shown.startswith(before)
    assert shown.endswith(after)
    snippets = {file.read_text("utf-8") for file in SNIPPETS.glob("*.py")}
    assert {f"{each.rstrip()}\n" for each in code_of(shown)} <= snippets


def test_the_readme_shows_what_runs() -> None:
    snippets = {file.read_text("utf-8") for file in SNIPPETS.glob("*.py")}
    shown = code_of((ROOT / "README.md").read_text("utf-8"))
    assert len([each for each in shown if each in snippets]) == 3
    assert all(each in snippets for each in shown if "out/X.bundle/model" in each)


@pytest.mark.parametrize("name", ["constraints-clients.txt", "constraints-clients-new.txt"])
def test_clients_are_pinned(name: str) -> None:
    lines = (ROOT / name).read_text("utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert {"optimum-intel", "sentence-transformers", "openvino", "torch", "transformers"} <= {
        pin.partition("==")[0] for pin in pins
    }
