from __future__ import annotations

import numpy as np
import onnx_ir as ir

from compiler.ir.encoder import EncoderGraph
from compiler.passes.additive_mask import AdditiveMask
from compiler.passes.cls_only_last_layer import ClsOnlyLastLayer
from compiler.passes.fold_constants import FoldConstants
from compiler.passes.fuse_qkv import FuseQkv
from tests.support.graphs import attention_of, body, encoder, encoder_feeds, ramp, run_pass

FEEDS = encoder_feeds()
EXPECTED = """\
q0_fused_out: float[batch,sequence,24] = MatMul(x0, q0_fused_weight)
q0_fused_add_out: float[batch,sequence,24] = Add(q0_fused_out, q0_fused_bias)
q0_fused_part0: float[batch,sequence,8], q0_fused_part1: float[batch,sequence,8], \
q0_fused_part2: float[batch,sequence,8] = Split(q0_fused_add_out, q0_fused_widths) {axis=-1}
c0: float[batch,sequence,8] = Attention(q0_fused_part0, q0_fused_part1, q0_fused_part2, mask) \
{kv_num_heads=2, q_num_heads=2, scale=0.5}
"""


def products(model: ir.Model) -> int:
    return sum(node.op_type == "MatMul" for node in model.graph)


def test_one_product_for_three() -> None:
    model = encoder(layers=2)
    before = products(model)
    result = run_pass(FuseQkv(), model, FEEDS)
    assert (result.modified, dict(result.counts)) == (True, {"qkv": 2, "pair": 0})
    assert products(model) == before - 4
    assert EXPECTED in body(model)
    query = attention_of(model).query
    assert query is not None
    assert query.weight_array.shape == (8, 24)
    assert dict(EncoderGraph.find(model).layers[0].linears).keys() == {
        "query+key+value",
        "attention_output",
        "ffn_up",
        "ffn_down",
    }


def test_the_queries_of_a_cls_only_layer_stay_on_their_own() -> None:
    model = encoder()
    AdditiveMask().run(model)
    ClsOnlyLastLayer().run(model)
    assert run_pass(FuseQkv(), model, FEEDS).counts == {"qkv": 0, "pair": 1}
    assert dict(EncoderGraph.find(model).layers[0].linears).keys() >= {"query", "key+value"}


def test_a_missing_bias_counts_as_zero() -> None:
    model = encoder()
    layer = attention_of(model)
    assert layer.key is not None
    assert layer.key.add is not None
    ir.convenience.replace_all_uses_with(layer.key.output, layer.key.matmul.outputs[0])
    model.graph.remove(layer.key.add, safe=True)
    assert run_pass(FuseQkv(), model, FEEDS).counts["qkv"] == 1
    fused = attention_of(model).query
    assert fused is not None
    assert fused.bias_array is not None
    np.testing.assert_array_equal(fused.bias_array[8:16], 0)


def test_no_bias_at_all() -> None:
    model = encoder(weights={f"b{name}0": np.zeros(8, np.float32) for name in "qkv"})
    for linear in (attention_of(model).query, attention_of(model).key):
        assert linear is not None
    for name in "qkv":
        add = next(node for node in model.graph if node.name == f"{name}0_bias")
        ir.convenience.replace_all_uses_with(
            add.outputs[0], next(v for v in add.inputs if v and v.producer())
        )
        model.graph.remove(add, safe=True)
    assert run_pass(FuseQkv(), model, FEEDS).counts["qkv"] == 1
    fused = attention_of(model).query
    assert fused is not None
    assert fused.add is None


def test_queries_that_are_also_the_keys_are_stored_once() -> None:
    model = encoder(weights={"wq0": ramp(8, 8), "wk0": ramp(8, 8), "bq0": ramp(8), "bk0": ramp(8)})
    FoldConstants().run(model)
    assert run_pass(FuseQkv(), model, FEEDS).counts == {"qkv": 0, "pair": 1}
    layer = attention_of(model)
    assert layer.value is not None
    assert layer.value.weight_array.shape == (8, 16)


def test_weights_shared_by_the_layers_are_shared_again() -> None:
    same = {f"{kind}{name}1": array for kind in "wb" for name, array in _projections(kind)}
    model = encoder(layers=2, weights={**same, **{f"{n[:-1]}0": a for n, a in same.items()}})
    FoldConstants().run(model)
    run_pass(FuseQkv(), model, FEEDS)
    run_pass(FoldConstants(), model, FEEDS)
    first, second = (attention_of(model, index) for index in (0, 1))
    assert first.query is not None
    assert second.query is not None
    assert first.query.weight is second.query.weight


def _projections(kind: str) -> list[tuple[str, np.ndarray]]:
    return [
        (n, ramp(8, 8, step=11 + i) if kind == "w" else ramp(8, step=11 + i)) for i, n in enumerate("qkv")
    ]


def test_projections_of_different_inputs_are_left_alone() -> None:
    model = encoder()
    layer = attention_of(model)
    for linear in (layer.key, layer.value):
        assert linear is not None
    embedded = next(node for node in model.graph if node.name == "embed").outputs[0]
    assert layer.key is not None
    layer.key.matmul.replace_input_with(0, embedded)
    assert run_pass(FuseQkv(), model, FEEDS).counts == {"qkv": 0, "pair": 1}
