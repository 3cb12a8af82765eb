from __future__ import annotations

import pytest

from calibration.examples import Example
from compiler.texts import items_of

ROWS = [Example("one"), Example("two", "three")]


def test_an_embedding_is_of_one_text() -> None:
    assert items_of(ROWS, "feature-extraction") == ["one", "two", "three"]


@pytest.mark.parametrize("task", ["text-classification", "question-answering"])
def test_other_tasks_read_pairs_as_pairs(task: str) -> None:
    assert items_of(ROWS, task) == ["one", ("two", "three")]
