from __future__ import annotations

import onnx_ir as ir
import pytest

from compiler.ir.mask import mask_source
from compiler.passes.additive_mask import AdditiveMask
from tests.support.graphs import CAUSAL, PADDING, body, encoder, encoder_feeds, ops, run_pass

BANDED = PADDING.replace(
    "[mask] mask = Mul(md, lowest)", "[soft] ms = Mul(md, lowest)\n [mask] mask = Add(ms, one)"
)
BOOLEAN = "[wide] m4 = Unsqueeze(attention_mask, axes12)\n [mask] mask = Cast<to = 9>(m4)"
BY_IDS = """
  [known] ok = Greater(input_ids, zero)
  [number] on = Cast<to = 7>(ok)
  [both] am = Mul(on, attention_mask)
""" + PADDING.replace("(attention_mask,", "(am,")
FIRST_KEPT = """
  [length] size = Shape<start = 1>(attention_mask)
  [scalar] n = Squeeze(size)
  [range] places = Range(zero, n, step)
  [first] at0 = Equal(places, zero)
  [number] at0i = Cast<to = 7>(at0)
  [or] am = Max(at0i, attention_mask)
""" + PADDING.replace("(attention_mask,", "(am,")
EXPECTED = """\
additive_mask_cast_out: float[batch,sequence] = Cast(attention_mask) {to=1}
additive_mask_flip_out: float[batch,sequence] = Sub(additive_mask_one, additive_mask_cast_out)
additive_mask_scale_out: float[batch,sequence] = Mul(additive_mask_flip_out, additive_mask_low)
additive_mask_out: float[batch,1,1,sequence] = Unsqueeze(additive_mask_scale_out, additive_mask_axes)
"""
FEEDS = encoder_feeds(), encoder_feeds(2, 9, seed=1)


def attentions(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == "Attention"]


@pytest.mark.parametrize("mask", [PADDING, BOOLEAN], ids=["additive", "boolean"])
def test_one_mask_for_every_layer(mask: str) -> None:
    model = encoder(layers=2, mask=mask)
    result = run_pass(AdditiveMask(), model, *FEEDS)
    assert body(model).splitlines()[2:6] == EXPECTED.splitlines()
    assert (result.modified, dict(result.counts), result.declined) == (True, {"mask": 1}, ())
    first, second = (node.inputs[3] for node in attentions(model))
    assert first is second
    source = mask_source(first)
    assert source is not None
    assert source.name == "attention_mask"


@pytest.mark.parametrize(
    "mask", [CAUSAL, BANDED, BY_IDS, FIRST_KEPT], ids=["causal", "offset", "ids", "first"]
)
def test_declines_a_mask_that_is_more_than_padding(mask: str) -> None:
    model = encoder(mask=mask)
    result = run_pass(AdditiveMask(), model, *FEEDS)
    assert not result.modified
    assert [each.reason for each in result.declined] == ["it hides other positions than the padding"]


def test_declines_a_mask_from_elsewhere() -> None:
    result = run_pass(AdditiveMask(), encoder(mask=PADDING.replace("attention_mask", "input_ids")))
    assert [each.reason for each in result.declined] == ["it does not depend on attention_mask"]


def test_a_graph_without_the_input() -> None:
    result = run_pass(AdditiveMask(input_name="mask"), encoder())
    assert [(each.where, each.reason) for each in result.declined] == [
        ("mask", "the graph has no such input")
    ]


def test_other_readers_of_the_old_mask_keep_it() -> None:
    model = encoder()
    mask = attentions(model)[0].inputs[3]
    assert mask is not None
    model.graph.outputs.append(mask)
    run_pass(AdditiveMask(), model, *FEEDS)
    assert [out.name for out in model.graph.outputs] == ["logits", "mask"]
    assert attentions(model)[0].inputs[3] is not mask


def test_attention_without_a_mask_is_left_alone() -> None:
    model = encoder(mask="")
    assert not run_pass(AdditiveMask(), model, *FEEDS).modified
    assert "Unsqueeze" not in ops(model)
