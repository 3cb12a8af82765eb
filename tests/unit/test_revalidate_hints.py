"""Hints of a validation that this machine cannot make."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.revalidate import _or_emulate
from targets.errors import FailedRunError, IncompatibleError
from tests.support.bundles import write_sample


def test_another_machine_is_told_of_emulation_and_a_model_that_fails_is_not(tmp_path: Path) -> None:
    bundle = write_sample(tmp_path / "tiny.bundle")
    with pytest.raises(FailedRunError) as failed, _or_emulate(bundle):
        raise FailedRunError("the model failed", "look at the model")
    assert failed.value.hint == "look at the model"
    with pytest.raises(IncompatibleError) as other, _or_emulate(bundle):
        raise IncompatibleError("another CPU", "")
    assert (other.value.message, type(other.value)) == ("another CPU", IncompatibleError)
