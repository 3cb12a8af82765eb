from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compiler.ir.edit import make_node
from compiler.ir.encoder import EncoderGraph
from compiler.passes.additive_mask import AdditiveMask
from compiler.passes.cls_only_last_layer import ClsOnlyLastLayer
from compiler.passes.fold_constants import FoldConstants
from compiler.passes.fuse_qkv import FuseQkv
from compiler.quantize.statistics import token_rows
from tests.support.graphs import CAUSAL, PADDING, attention_of, body, encoder, encoder_feeds, ramp, run_pass

FEEDS = encoder_feeds(), encoder_feeds(2, 9, seed=1)
EXPECTED = """\
cls_row_of_last_layer_out: float[batch,1,8] = Gather(x0, cls_row) {axis=1}
q0m: float[batch,1,8] = MatMul(cls_row_of_last_layer_out, wq0)
q0: float[batch,1,8] = Add(q0m, bq0)
k0m: float[batch,sequence,8] = MatMul(x0, wk0)
k0: float[batch,sequence,8] = Add(k0m, bk0)
v0m: float[batch,sequence,8] = MatMul(x0, wv0)
v0: float[batch,sequence,8] = Add(v0m, bv0)
c0: float[batch,1,8] = Attention(q0, k0, v0, additive_mask_out) {kv_num_heads=2, q_num_heads=2, scale=0.5}
o0m: float[batch,1,8] = MatMul(c0, wo0)
o0: float[batch,1,8] = Add(o0m, bo0)
r0: float[batch,1,8] = Add(o0, cls_row_of_last_layer_out)
"""


def masked(**options: object) -> ir.Model:
    model = encoder(**options)  # type: ignore[arg-type]
    AdditiveMask().run(model)
    return model


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_last_layer_runs_on_one_row(layers: int) -> None:
    model = masked(layers=layers)
    result = run_pass(ClsOnlyLastLayer(), model, *FEEDS)
    assert (result.modified, dict(result.counts), result.declined) == (True, {"layer": 1}, ())
    if layers == 1:
        assert EXPECTED in body(model)
    found = EncoderGraph.find(model)
    assert len(found.layers) == layers
    assert found.layers[-1].output.shape == ir.Shape(["batch", 1, 8])


def declines(model: ir.Model) -> str:
    result = run_pass(ClsOnlyLastLayer(), model, *FEEDS)
    assert not result.modified
    (declined,) = result.declined
    return declined.reason


def test_token_heads_read_every_row() -> None:
    assert declines(masked(head="tokens")) == "the head reads more than the CLS row"


def test_every_row_leaves_the_graph() -> None:
    model = masked()
    model.graph.outputs.append(EncoderGraph.find(model).layers[-1].output)
    assert declines(model) == "every row of the last layer leaves the graph"


def test_a_value_inside_leaves_the_graph() -> None:
    model = masked()
    model.graph.outputs.append(attention_of(model, -1).norm.outputs[0])
    assert declines(model) == "a value inside the last layer leaves the graph"


def test_a_value_inside_reaches_the_output_by_another_way() -> None:
    model = masked()
    inner = attention_of(model, -1).norm
    copy = make_node(
        "Relu", [inner.outputs[0]], name="copy", dtype=ir.DataType.FLOAT, shape=inner.outputs[0].shape
    )
    model.graph.append(copy)
    model.graph.outputs.append(copy.outputs[0])
    assert declines(model) == "a value inside the last layer leaves the graph"


@pytest.mark.parametrize("mask", [CAUSAL, PADDING])
def test_a_mask_of_unknown_make(mask: str) -> None:
    assert declines(encoder(mask=mask)) == "its mask depends on the query's position"


def test_fused_projections() -> None:
    model = masked()
    FuseQkv().run(model)
    assert declines(model) == "its queries are not projected on their own"


def test_queries_that_are_also_the_keys() -> None:
    model = masked(weights={"wq0": ramp(8, 8), "wk0": ramp(8, 8), "bq0": ramp(8), "bk0": ramp(8)})
    FoldConstants().run(model)
    assert declines(model) == "its queries are not projected on their own"


def test_no_encoder() -> None:
    model = masked()
    model.graph.outputs[0].name = "renamed"
    attention = attention_of(model).node
    attention.op_type = "Unknown"
    result = ClsOnlyLastLayer().run(model)
    assert [each.reason for each in result.declined] == ["no encoder layer was found"]


def test_padding_rows_of_a_cls_value_do_not_exist() -> None:
    mask = np.array([[True, False], [True, True]])
    rows = ramp(2, 1, 4)
    np.testing.assert_array_equal(token_rows(rows, mask), rows[:, 0])
