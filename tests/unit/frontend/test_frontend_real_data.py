from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
import onnxruntime
import pytest

from compiler.frontend.checkpoint import load_checkpoint
from compiler.frontend.export import trace
from tests.support.parity import assert_parity, random_feeds


def test_fine_tuned_minilm(shared_data: Path, torch_threads: Any) -> None:
    del torch_threads
    folder = shared_data / "minilm-sst2"
    if not folder.is_dir():
        pytest.skip("needs ../shared/data/minilm-sst2, which is not there")
    opened = load_checkpoint(folder)
    assert opened.task_config.labels == ("negative", "positive")
    assert opened.tokenizer.spec.max_length == 512
    assert opened.notes == ()
    assert opened.provenance["weights_dtype"] == ["F16"]
    traced = trace(opened)
    assert traced.reference is not None
    run = onnxruntime.InferenceSession(ir.to_proto(traced.model).SerializeToString())
    given = random_feeds(3, 48, vocab_size=30522)
    assert_parity(traced.reference, lambda feeds: {"logits": run.run(None, feeds)[0]}, given)
