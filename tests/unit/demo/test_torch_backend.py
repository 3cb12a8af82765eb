"""The checkpoint in torch behind the interface of a runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from compiler.frontend.checkpoint import load_checkpoint
from compiler.frontend.torch_model import load_reference
from compiler.torch_backend import TorchBackend
from tests.support.parity import random_feeds


@pytest.mark.parametrize("task", ["text-classification", "question-answering"])
def test_each_attention_gives_the_same(checkpoint: Callable[..., Path], family: str, task: str) -> None:
    reference = load_reference(load_checkpoint(checkpoint(family, task)))
    plain, fused, eager = (TorchBackend(reference, attention=name) for name in (None, "sdpa", "eager"))
    feeds = {name: random_feeds(3, 9, pad_id=1)[name] for name in plain.input_names}
    expected = plain.run(feeds)
    assert tuple(expected) == plain.output_names
    for backend, name in ((fused, "sdpa"), (eager, "eager"), (fused, "sdpa")):
        found = backend.run(feeds)
        assert reference.wrapper.model.config._attn_implementation == name
        for key, values in expected.items():
            kept = feeds["attention_mask"] > 0 if task == "question-answering" else slice(None)
            np.testing.assert_allclose(found[key][kept], values[kept], atol=2e-4)
    last = plain.output_names[-1]
    assert list(plain.run(feeds, [last])) == [last]
    plain.close()
