from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compiler.ir.encoder import attention_scale
from compiler.passes.fold_attention_scale import FoldAttentionScale
from targets.errors import UnsupportedError
from tests.support.graphs import attention_of, body, encoder, encoder_feeds, ramp, run_pass

FEEDS = encoder_feeds()
EXPECTED = """\
q0m: float[batch,sequence,8] = MatMul(x0, wq0_scaled)
q0: float[batch,sequence,8] = Add(q0m, bq0_scaled)
"""


def attention(model: ir.Model) -> ir.Node:
    return next(node for node in model.graph if node.op_type == "Attention")


def test_folds_into_the_query_projection() -> None:
    model = encoder(layers=2)
    result = run_pass(FoldAttentionScale(), model, FEEDS)
    assert (result.modified, dict(result.counts)) == (True, {"scale": 2})
    assert EXPECTED in body(model)
    assert "scale=1.0" in body(model)
    layer = attention_of(model)
    assert layer.query is not None
    np.testing.assert_array_equal(layer.query.weight_array, ramp(8, 8, step=37) * np.float32(0.5))


def test_the_scale_that_an_attention_has_by_default() -> None:
    model = encoder()
    del attention(model).attributes["scale"]
    assert attention_scale(attention(model)) == 0.5
    assert run_pass(FoldAttentionScale(), model, FEEDS).counts["scale"] == 1


def test_a_scale_that_is_not_known() -> None:
    model = encoder()
    node = attention(model)
    del node.attributes["scale"]
    assert node.inputs[0] is not None
    node.inputs[0].shape = None
    with pytest.raises(UnsupportedError, match="head size of attention0"):
        FoldAttentionScale().run(model)


def test_queries_that_others_read_are_declined() -> None:
    model = encoder()
    query = attention(model).inputs[0]
    assert query is not None
    model.graph.outputs.append(query)
    result = run_pass(FoldAttentionScale(), model, FEEDS)
    assert not result.modified
    assert [each.where for each in result.declined] == ["attention0"]
    assert "made by a linear layer for it alone" in result.declined[0].reason


def test_a_scale_of_one_is_left_alone() -> None:
    assert not run_pass(FoldAttentionScale(), encoder(scale=1.0), FEEDS).modified


def test_shared_weights_are_not_scaled_for_the_others() -> None:
    model = encoder(layers=2)
    first, second = (attention_of(model, index) for index in (0, 1))
    assert first.query is not None
    assert second.key is not None
    second.key.matmul.replace_input_with(1, first.query.weight)
    run_pass(FoldAttentionScale(), model, FEEDS)
    found = attention_of(model, 1).key
    assert found is not None
    np.testing.assert_array_equal(found.weight_array, ramp(8, 8, step=37))
