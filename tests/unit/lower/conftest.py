from __future__ import annotations

from collections.abc import Callable

import pytest

from compiler.frontend.export import TracedModel
from tests.support.lowered import Case, make_case


@pytest.fixture(scope="session")
def case(traced: Callable[..., TracedModel]) -> Case:
    """A tiny BERT classifier after the passes."""
    return make_case(traced)
