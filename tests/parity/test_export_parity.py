"""Files of other exporters: sdpa masks and NaN guards, written-out LayerNorm and GELU, old opsets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compiler.frontend.checkpoint import load_checkpoint
from compiler.frontend.export import trace
from compiler.ir.encoder import EncoderGraph
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from tests.support.exports import export_onnx
from tests.support.parity import random_feeds
from tests.support.watching import ParityProbe

CASES = [
    ("bert", "sdpa", True, 18, 0),
    ("distilbert", "sdpa", True, 18, 0),
    ("bert", "eager", False, 11, 5),
    ("bert", "eager", False, 14, 5),
    ("bert", "sdpa", False, 14, 5),
    ("xlm-roberta", "sdpa", False, 17, 0),
    ("electra", "eager", False, 17, 0),
    ("distilbert", "eager", False, 14, 5),
    ("distilbert", "sdpa", False, 17, 0),
]


@pytest.mark.parametrize(("family", "attention", "dynamo", "opset", "layer_norms"), CASES)
def test_the_pipeline_understands(
    checkpoint: Callable[..., Path],
    tmp_path: Path,
    family: str,
    attention: str,
    dynamo: bool,
    opset: int,
    layer_norms: int,
) -> None:
    folder = checkpoint(family, "text-classification")
    file = tmp_path / "model.onnx"
    reference = export_onnx(folder, file, attention=attention, dynamo=dynamo, opset=opset)
    for path in folder.iterdir():
        if path.suffix in (".json", ".txt", ".model"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
    opened = load_checkpoint(file, task="text-classification")
    model = trace(opened).model
    options = {"type_ids": False, "vocab_size": 200, "pad_id": opened.config["pad_token_id"]}
    feeds = [random_feeds(3, 12, **options), random_feeds(2, 19, seed=1, **options)]
    records = PassManager(encoder_passes(), [ParityProbe(reference, feeds)]).run(model)

    encoder = EncoderGraph.find(model).require()
    assert [(e.heads, e.head_size, e.intermediate) for e in encoder.layers] == [(4, 8, 64)] * 2
    counts = {name: count for record in records for name, count in record.result.counts.items()}
    assert counts["layer_norm"] == layer_norms
    assert counts["gelu"] == (3 if family == "electra" else 2)
    assert (counts["attention"], counts["mask"], counts["layer"]) == (2, 1, 1)
    left = {node.op_type for node in model.graph}
    assert not left & {"IsNaN", "Erf", "Softmax", "Sqrt", "Transpose", "GatherND", "Range"}
    for each in encoder_passes():
        assert not each.run(model).modified, f"{each.name} is not idempotent"
