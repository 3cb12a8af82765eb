"""Groups of channels: what every rule joins, what stops it, and that a cut is a mask."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compiler.frontend.export import TracedModel
from compiler.ir.edit import add_initializer
from compiler.ir.encoder import EncoderGraph
from compiler.ir.execute import Runner
from compiler.passes.manager import PassManager
from compiler.pipeline import encoder_passes
from compiler.prune.axes import ChannelGroup, find_groups
from compiler.prune.axis_labels import roots
from compiler.prune.modules import find_modules
from tests.support.cutting import cut_group, mask_group
from tests.support.graphs import encoder, encoder_feeds, parse, ramp
from tests.support.models import FAMILIES, TASKS
from tests.support.parity import random_feeds

Traced = Callable[..., TracedModel]
IN, OUT = 6, 8
WEIGHTS = {
    "w": ramp(IN, OUT, step=31),
    "w2": ramp(IN, OUT, step=37),
    "read": ramp(OUT, 3, step=41),
    "read16": ramp(2 * OUT, 3, step=43),
    "read4": ramp(OUT // 2, 3, step=41),
    "vector": ramp(OUT, step=43),
    "row": ramp(1, OUT, step=47),
    "one": np.array([2.0], np.float32),
    "number": np.array(2.0, np.float32),
    "places": ramp(5, OUT, step=7),
    "square": ramp(OUT, OUT, step=29),
    "wide": ramp(2 * OUT, OUT, step=23),
    "rowmix": ramp(5, 5, step=19),
    "norm": np.ones(OUT, np.float32),
    "split_heads": np.array([0, 0, 2, 4]),
    "split_more": np.array([0, 0, 2, 2, 2]),
    "merge_heads": np.array([0, 0, 8]),
    "merge_rest": np.array([0, 0, -1]),
    "flat": np.array([-1, 8]),
    "swap": np.array([0, 0, 4, 2]),
    "halves": np.array([2, 6]),
    "axis_last": np.array([2]),
    "axis_rows": np.array([1]),
    "axis_first": np.array([0]),
    "begin": np.array([0]),
    "end": np.array([2]),
    "zero": np.array(0),
    "table": ramp(9, OUT, step=5),
}  # fmt: skip
NORMAL = "y = MatMul(g, read)"


def graph(*lines: str, out: str = "float[b, s, 3] y") -> ir.Model:
    """`f = x @ w` [b, s, 8], the given lines, and by rights `y = g @ read`."""
    named = [line if line.startswith("[") else f"[n{place}] {line}" for place, line in enumerate(lines)]
    text = "\n".join(["[write] f = MatMul(x, w)", *named])
    used = {name: each for name, each in WEIGHTS.items() if re.search(rf"[(, ]{name}[,)]", text)}
    kinds = {"f": "float", "i": "int64"}
    typed = [f"{kinds[a.dtype.kind]}{'[' + ','.join(map(str, a.shape)) + ']' if a.ndim else ''} {name}"
             for name, a in used.items()]  # fmt: skip
    inputs = ", ".join(["float[b, s, 6] x", "float[b, s, 8] other", "int64[b, s] ids", *typed])
    return parse(f"g ({inputs}) => ({out}) {{\n{text}\n}}", used)


def group_of(model: ir.Model, writer: str = "write") -> ChannelGroup:
    (found,) = (each for each in find_groups(model) if writer in [node.name for node in each.writers])
    return found


def names(nodes: tuple[ir.Node, ...]) -> list[str]:
    return [str(node.name) for node in nodes]


def constants(group: ChannelGroup) -> list[tuple[str, int]]:
    return [(str(each.value.name), each.axis) for each in group.cuts if each.node is not None]


def feeds(seed: int = 0) -> dict[str, NDArray[np.generic]]:
    rng = np.random.default_rng(seed)
    return {
        "x": rng.standard_normal((2, 5, IN)).astype(np.float32),
        "other": rng.standard_normal((2, 5, OUT)).astype(np.float32),
        "ids": rng.integers(0, 9, (2, 5)),
    }


def assert_a_cut_is_a_mask(model: ir.Model, given_feeds: dict[str, NDArray[np.generic]], seed: int) -> int:
    """Cuts every group that may be cut to a random subset; returns how many there were."""
    rng = np.random.default_rng(seed)
    found = [place for place, each in enumerate(find_groups(model)) if each.reason is None]
    for place in found:
        units = find_groups(model)[place].units
        kept = np.zeros(units, np.bool_)
        kept[rng.permutation(units)[: rng.integers(1, units + 1)]] = True
        wanted = Runner(mask_group(model, place, kept), threads=1, optimize=False)(given_feeds)
        got = Runner(cut_group(model, place, kept), threads=1, optimize=False)(given_feeds)
        for name, array in wanted.items():
            np.testing.assert_allclose(got[name], array, atol=2e-5, rtol=0, err_msg=name)
    return len(found)


JOINED = {
    "alone": (["g = Identity(f)"], OUT, 1, []),
    "bias": (["g = Add(f, vector)"], OUT, 1, [("vector", 0)]),
    "bias first, of two axes": (["g = Sub(row, f)"], OUT, 1, [("row", 1)]),
    "a constant for each row": (["g = Mul(f, places)"], OUT, 1, [("places", 1)]),
    "one number": (["h = Mul(f, one)", "g = Div(h, number)"], OUT, 1, []),
    "two products": (["[also] h = MatMul(x, w2)", "g = Add(f, h)"], OUT, 1, [("w2", 1)]),
    "a gate": (["[also] h = MatMul(x, w2)", "s = Sigmoid(h)", "g = Mul(f, s)"], OUT, 1, [("w2", 1)]),
    "a choice": (["p = Greater(f, number)", "g = Where(p, f, vector)"], OUT, 1, [("vector", 0)]),
    "a table": (["[also] e = Gather(table, ids)", "g = Add(f, e)"], OUT, 1, [("table", 1)]),
    "activations": (["t = Tanh(f)", "u = Gelu(t)", "c = Cast<to = 1>(u)", "g = Clip(c, number)"], OUT, 1, []),
    "transposes": (["t = Transpose<perm = [2, 0, 1]>(f)", "g = Transpose<perm = [1, 2, 0]>(t)"], OUT, 1, []),
    "heads": (["t = Reshape(f, split_heads)", "g = Reshape(t, merge_heads)"], 2, 4, []),
    "heads apart": (
        ["t = Reshape(f, split_heads)", "u = Transpose<perm = [0, 2, 1, 3]>(t)", "p = Softmax(u)",
         "v = Transpose<perm = [0, 2, 1, 3]>(p)", "g = Reshape(v, merge_rest)"], 2, 4, [],
    ),
    "heads in two steps": (["t = Reshape(f, split_more)", "g = Reshape(t, merge_rest)"], 2, 4, []),
    "rows in one": (["t = Reshape(f, flat)", "i = Shape(ids)", "o = Shape(read)",
                     "r = Tanh(t)", "g = Unsqueeze(r, axis_first)"], OUT, 1, []),
    "rows picked": (["r = Slice(f, begin, end, axis_rows)", "g = Tanh(r)"], OUT, 1, []),
    "a row picked": (["r = Gather<axis = 1>(f, zero)", "g = Unsqueeze(r, axis_rows)"], OUT, 1, []),
    "halves added": (
        ["p, q = Split<axis = 2, num_outputs = 2>(f)", "h = Add(p, q)", "[reader] y = MatMul(h, read4)"],
        4, 1, [],
    ),
    "rows normalized": (["g = Softmax<axis = 1>(f)"], OUT, 1, []),
    "rows reduced": (["g = ReduceMax(f, axis_rows)"], OUT, 1, []),
}  # fmt: skip


@pytest.mark.parametrize("case", JOINED)
def test_what_is_joined(case: str) -> None:
    lines, units, size, others = JOINED[case]
    reader = [] if any("[reader]" in each for each in lines) else ["[reader] y = MatMul(g, read)"]
    model = graph(*lines, *reader)
    found = group_of(model)
    assert found.reason is None
    assert (found.units, found.size) == (units, size)
    assert names(found.readers) == ["reader"]
    matrices = [("w", 1), ("read4" if not reader else "read", 0)]
    assert sorted(constants(found)) == sorted([*matrices, *others])
    assert assert_a_cut_is_a_mask(model, feeds(), 1) == 1


def test_pieces_of_a_split_and_a_concat_are_offset() -> None:
    model = graph(
        "[also] h = MatMul(x, w2)", "c = Concat<axis = 2>(f, h)",
        "p, q = Split<axis = 2, num_outputs = 2>(c)",
        "t = Tanh(q)", "d = Concat<axis = 2>(t, p)", "[reader] y = MatMul(d, read16)",
    )  # fmt: skip
    one, two = group_of(model), group_of(model, "also")
    assert one is not two
    for group, place in ((one, 1), (two, 0)):
        (rows,) = (each for each in group.cuts if each.node in group.readers)
        expected = np.full(2 * OUT, -1)
        expected[place * OUT : (place + 1) * OUT] = range(OUT)
        assert rows.units.tolist() == expected.tolist()
        assert group.reason is None
    assert assert_a_cut_is_a_mask(model, feeds(), 3) == 2


def test_what_lies_beside_in_a_concat_stays() -> None:
    model = graph("c = Concat<axis = 2>(other, f)", "[reader] y = MatMul(c, read16)")
    (rows,) = (each for each in group_of(model).cuts if str(each.value.name) == "read16")
    assert rows.units.tolist() == [-1] * OUT + list(range(OUT))
    assert assert_a_cut_is_a_mask(model, feeds(), 4) == 1


STOPPED = {
    "normalized": (["[ln] g = LayerNormalization(f, norm)"], "LayerNormalization ln normalizes over it"),
    "softmax": (["[soft] g = Softmax(f)"], "Softmax soft normalizes over it"),
    "reduced": (["[sum] g0 = ReduceSum(f, axis_last)", "g = Mul(g0, other)"], "ReduceSum sum reduces it"),
    "added to an input": (["[plus] g = Add(f, other)"], "plus combines it with other, which cannot be cut"),
    "matched with itself": (
        ["t = Transpose<perm = [0, 2, 1]>(f)", "[scores] s = MatMul(f, t)", "g = MatMul(s, other)"],
        "scores sums over it in a product with t",
    ),
    "unknown": (["[odd] g = CumSum(f, zero)"], "what odd (CumSum) does with it is not known"),
    "unknown later": (["h = Tanh(f)", "[odd] g = Hardmax(h)"],
                      "what odd (Hardmax) does with it is not known"),
    "one channel out of it": (["[pick] h = Gather<axis = 2>(f, zero)", "i = Unsqueeze(h, axis_last)",
                               "g = Mul(i, other)"], "what pick (Gather) does with it is not known"),
    "channels sliced": (["[part] h = Slice(f, begin, end, axis_last)", "k = ReduceSum(h, axis_last)",
                         "g = Mul(k, other)"], "what part (Slice) does with it is not known"),
    "its size is used": (["[size] h = Shape(f)", "[odd] e = Expand(number, h)", "g = Mul(e, other)",
                          "[extra] z = MatMul(f, read)"], "what size (Shape) does with it is not known"),
    "factors crossed": (["t = Reshape(f, split_heads)", "[mix] u = Reshape(t, swap)",
                         "g = Reshape(u, merge_heads)"],
                        "what mix (Reshape) does with it is not known"),
    "uneven": (["p, q = Split<axis = 2>(f, halves)", "k = ReduceSum(q, axis_last)", "l = Mul(k, other)",
                "g = Identity(l)"], "ReduceSum"),
    "in pieces": (
        ["p, q = Split<axis = 2, num_outputs = 2>(f)", "g = Concat<axis = 2>(p, q)"],
        "p holds more of some of its units than of others",
    ),
    "never read": (["g = Identity(other)"], "no product reads it"),
}  # fmt: skip


@pytest.mark.parametrize("case", STOPPED)
def test_what_stops_a_group(case: str) -> None:
    lines, reason = STOPPED[case]
    found = group_of(graph(*lines, NORMAL))
    assert any(reason in each for each in found.reasons), found.reasons


def test_what_leaves_the_graph_is_not_cut() -> None:
    model = graph("[out] y = Add(f, vector)", out="float[b, s, 8] y")
    assert group_of(model).reason == "it leaves the graph as y"
    both = graph("g = Tanh(f)", NORMAL, out="float[b, s, 3] y, float[b, s, 8] g")
    assert group_of(both).reason == "it leaves the graph as g"


def test_of_several_reasons_the_first_is_given() -> None:
    model = graph("[soft] h = Softmax(f)", "[ln] g = LayerNormalization(h, norm)", NORMAL)
    assert group_of(model).reason == "Softmax soft normalizes over it (and 1 more reason)"


def test_an_op_of_another_domain_is_not_known() -> None:
    model = graph("[odd] g = Tanh(f)", NORMAL)
    next(node for node in model.graph if node.name == "odd").domain = "com.example"
    assert group_of(model).reason == "what odd (Tanh) does with it is not known"


def test_what_a_subgraph_reads_is_not_cut() -> None:
    model = graph("g = Tanh(f)", NORMAL)
    write = next(node for node in model.graph if node.name == "write")
    inner = [ir.node("Abs", [write.outputs[0]], name="inside") for _ in range(2)]
    bodies = [ir.Graph([], each.outputs, nodes=[each], name="body") for each in inner]
    flag = add_initializer(model.graph, "flag", np.array(True))
    branch = ir.node("If", [flag], attributes={"then_branch": bodies[0], "else_branch": bodies[1]}, name="if")
    model.graph.insert_before(next(n for n in model.graph if n.op_type == "Tanh"), branch)
    assert "inside reads it inside a subgraph" in group_of(model).reasons


def test_a_shared_weight_is_cut_for_each_product_by_itself() -> None:
    model = graph("[twin] h = MatMul(x, w)", "t = Tanh(h)", "[a] p = MatMul(f, read)",
                  "[b] q = MatMul(t, read)", "y = Sub(p, q)")  # fmt: skip
    one, two = group_of(model), group_of(model, "twin")
    assert one is not two
    assert (one.reason, two.reason) == (None, None)
    assert one.notes == (
        "w is shared by write and twin: each gets a copy of its own when cut",
        "read is shared by a and b: each gets a copy of its own when cut",
    )
    assert assert_a_cut_is_a_mask(model, feeds(), 5) == 2


def test_a_vector_shared_by_two_groups_joins_nothing() -> None:
    model = graph("[twin] h = MatMul(x, w2)", "i = Add(f, vector)", "j = Mul(h, vector)",
                  "[a] p = MatMul(i, read)", "[b] q = MatMul(j, read)", "y = Sub(p, q)")  # fmt: skip
    one, two = group_of(model), group_of(model, "twin")
    assert one is not two
    assert any("vector is shared" in each for each in one.notes)
    assert assert_a_cut_is_a_mask(model, feeds(), 6) == 2


def test_a_matrix_read_on_both_sides() -> None:
    """Its columns are written by one use, its rows read by another: neither use sees the other's cut."""
    model = parse(
        "g (float[b, 8] x, float[8, 8] square) => (float[b, 8] y) {\n"
        "[first] f = MatMul(x, square)\n[act] t = Tanh(f)\n[second] y = MatMul(t, square)\n}",
        {"square": WEIGHTS["square"]},
    )  # fmt: skip
    found = group_of(model, "first")
    assert constants(found) == [("square", 1), ("square", 0)]
    values = {"x": ramp(3, OUT, step=11)}
    assert assert_a_cut_is_a_mask(model, values, 7) == 1


def test_heads_of_attention() -> None:
    model = encoder(layers=1)
    found = group_of(model, "q0")
    assert (found.units, found.size) == (2, 4)
    assert names(found.writers) == ["q0", "k0", "v0"]
    assert names(found.readers) == ["o0"]
    assert names(found.attentions) == ["attention0"]
    assert constants(found) == [
        ("wq0", 1), ("bq0", 0), ("wk0", 1), ("bk0", 0), ("wv0", 1), ("bv0", 0), ("wo0", 0),
    ]  # fmt: skip
    stream = group_of(model, "o0")
    assert names(stream.writers) == ["embed", "o0", "down0"]
    assert stream.reason == "LayerNormalization norm normalizes over it (and 2 more reasons)"
    assert group_of(model, "head").reason == "it leaves the graph as logits"


def test_heads_that_share_keys_and_values() -> None:
    """Four heads of queries on two of keys and values: two units, of two and one."""
    arrays = {"wq": ramp(IN, 8), "wk": ramp(IN, 4), "wv": ramp(IN, 4), "wo": ramp(8, 3)}
    typed = ", ".join(f"float[{each.shape[0]}, {each.shape[1]}] {name}" for name, each in arrays.items())
    model = parse(
        f"g (float[b, s, 6] x, {typed}) => (float[b, s, 3] y) {{\n"
        "[q] a = MatMul(x, wq)\n[k] k0 = MatMul(x, wk)\n[v] v0 = MatMul(x, wv)\n"
        "[att] c = Attention<q_num_heads = 4, kv_num_heads = 2>(a, k0, v0)\n[o] y = MatMul(c, wo)\n}", arrays,
    )  # fmt: skip
    found = group_of(model, "q")
    assert (found.units, found.size, found.reason) == (2, 4, None)
    assert [each.units.tolist() for each in found.cuts if str(each.value.name) in ("wq", "wk", "c")] == [
        [0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1],
    ]  # fmt: skip
    model = encoder(layers=1)
    attention = next(node for node in model.graph if node.op_type == "Attention")
    attention.attributes["kv_num_heads"] = ir.AttrInt64("kv_num_heads", 1)
    assert find_modules(model).declined == {"layer0.heads": "heads share keys and values"}


def no_heads(node: ir.Node, _: ir.Graph) -> None:
    node.attributes.pop("q_num_heads")


def three_heads(node: ir.Node, _: ir.Graph) -> None:
    for name in ("q_num_heads", "kv_num_heads"):
        node.attributes[name] = ir.AttrInt64(name, 3)


def a_mask_for_each_head(node: ir.Node, graph: ir.Graph) -> None:
    node.replace_input_with(3, add_initializer(graph, "for_heads", np.zeros((1, 2, 1, 1), np.float32)))


def values_from_outside(node: ir.Node, graph: ir.Graph) -> None:
    shape, kind = ir.Shape(["batch", "sequence", 8]), ir.TensorType(ir.DataType.FLOAT)
    graph.inputs.append(ir.Value(name="cache", shape=shape, type=kind))
    node.replace_input_with(2, graph.inputs[-1])


@pytest.mark.parametrize("change", [no_heads, three_heads, a_mask_for_each_head, values_from_outside])
def test_attention_of_another_form_is_declined(change: Callable[[ir.Node, ir.Graph], None]) -> None:
    model = encoder(layers=1)
    change(next(node for node in model.graph if node.op_type == "Attention"), model.graph)
    found = group_of(model, "q0")
    assert found.reason == "what attention0 (Attention) does with it is not known"
    declined = find_modules(model).declined
    assert "layer0.heads" in declined
    assert "layer0.ffn" not in declined


def insert(model: ir.Model, before: str, op_type: str, name: str, **attributes: object) -> None:
    """Put a node of one operand in front of a node's first input."""
    node = next(each for each in model.graph if each.name == before)
    new = ir.node(op_type, [node.inputs[0]], attributes=attributes, name=name)  # type: ignore[arg-type]
    new.outputs[0].shape, new.outputs[0].type = node.inputs[0].shape, node.inputs[0].type  # type: ignore[union-attr]
    model.graph.insert_before(node, new)
    node.replace_input_with(0, new.outputs[0])


@pytest.mark.parametrize(
    ("before", "op_type", "declined"),
    [
        ("attention0", "Tanh", {"layer0.heads": "queries, keys and values are not three products"}),
        ("act0", "Tanh", {}),
    ],
)
def test_odd_nodes_in_a_layer(before: str, op_type: str, declined: dict[str, str]) -> None:
    model = encoder(layers=1)
    insert(model, before, op_type, "odd")
    found = find_modules(model)
    assert found.declined == declined
    assert len(found.modules) == 2 - len(declined)


def test_what_lies_between_the_attention_and_its_output_is_declined() -> None:
    model = encoder(layers=1)
    vector = add_initializer(model.graph, "smooth", np.full(8, 2, np.float32))
    read = next(node for node in model.graph if node.name == "o0")
    scaled = ir.node("Mul", [read.inputs[0], vector], name="scaled")
    model.graph.insert_before(read, scaled)
    read.replace_input_with(0, scaled.outputs[0])
    assert find_modules(model).declined == {"layer0.heads": "scaled has an operand for each channel"}


def test_a_result_that_others_read_as_well() -> None:
    model = encoder(layers=1)
    value = next(node for node in model.graph if node.name == "v0_bias").outputs[0]
    weight = add_initializer(model.graph, "extra_weight", ramp(8, 8))
    extra = ir.node("MatMul", [value, weight], name="extra")
    model.graph.append(extra)
    assert find_modules(model).declined["layer0.heads"] == "extra read its channels as well"
    model.graph.outputs.append(value)
    assert find_modules(model).declined["layer0.heads"] == f"it leaves the graph as {value.name}"


def test_channels_that_do_not_lie_side_by_side() -> None:
    model = encoder(layers=1)
    up = next(node for node in model.graph if node.name == "up0_bias").outputs[0]
    activation = next(node for node in model.graph if node.name == "act0")
    parts = ir.node("Split", [up], attributes={"axis": 2, "num_outputs": 2}, num_outputs=2, name="parts")
    swapped = ir.node("Concat", list(reversed(parts.outputs)), attributes={"axis": 2}, name="swapped")
    model.graph.insert_before(activation, [parts, swapped])
    activation.replace_input_with(0, swapped.outputs[0])
    assert "layer0.ffn" not in [each.name for each in find_modules(model).modules]


def passed(traced: Traced, family: str, task: str) -> ir.Model:
    model = traced(family, task).model
    PassManager(encoder_passes(fuse_qkv=False)).run(model)
    return model


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", TASKS)
def test_every_layer_has_one_group_of_heads_and_one_of_neurons(
    traced: Traced, family: str, task: str
) -> None:
    model = passed(traced, family, task)
    groups = find_groups(model)
    layers = EncoderGraph.find(model).require().layers
    heads = [each for each in groups if each.attentions]
    assert [(each.units, each.size, each.reason) for each in heads] == [(4, 8, None)] * len(layers)
    found = find_modules(model, groups)
    assert [each.name for each in found.modules] == [
        f"layer{place}.{kind}" for place in range(len(layers)) for kind in ("heads", "ffn")
    ]
    assert found.declined == {}
    used = [{each.reader.matmul for each in found.modules if each.kind == kind} for kind in ("heads", "ffn")]
    assert [len(each) for each in used] == [len(layers)] * 2
    (stream,) = (each for each in groups if used[0] & set(each.writers))
    assert used[0] | used[1] <= set(stream.writers)
    assert stream.reason is not None
    assert "normalizes over it" in stream.reason
    assert assert_a_cut_is_a_mask(model, random_feeds(3, 9, vocab_size=300, seed=1), 2) >= 2 * len(layers)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_cut_is_a_mask(seed: int) -> None:
    model = encoder(layers=2, head="tokens")
    assert assert_a_cut_is_a_mask(model, encoder_feeds(seed=seed % 100), seed) == 4


@given(st.integers(1, 20), st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30))
def test_roots_are_those_of_a_plain_union_find(count: int, pairs: list[tuple[int, int]]) -> None:
    pairs = [(a % count, b % count) for a, b in pairs]
    parent = list(range(count))

    def find(place: int) -> int:
        return place if parent[place] == place else find(parent[place])

    for a, b in pairs:
        low, high = sorted((find(a), find(b)))
        parent[high] = low
    joins = [(np.array([a]), np.array([b])) for a, b in pairs]
    assert roots(count, joins).tolist() == [find(place) for place in range(count)]


STEPS = {
    "act": "{o} = Gelu({a})",
    "number": "{o} = Div({a}, number)",
    "vector": "{o} = Mul({a}, vector)",
    "rows": "{o} = Sub(places, {a})",
    "product": "{o} = MatMul({a}, square)",
    "add": "{o} = Add({a}, {b})",
    "gate": "{o} = Mul({a}, {b})",
    "choose": "{o}p = Less({a}, {b})|{o} = Where({o}p, {a}, {b})",
    "heads": ("{o}h = Reshape({a}, split_heads)|{o}t = Transpose<perm = [0, 2, 1, 3]>({o}h)|"
              "{o}s = Softmax({o}t)|{o}u = Transpose<perm = [0, 2, 1, 3]>({o}s)|"
              "{o} = Reshape({o}u, merge_rest)"),
    "shuffle": ("{o}h = Reshape({a}, split_heads)|{o}t = Transpose<perm = [0, 1, 3, 2]>({o}h)|"
                "{o} = Reshape({o}t, merge_heads)"),
    "halves": "{o}p, {o}q = Split<axis = 2, num_outputs = 2>({a})|{o} = Concat<axis = 2>({o}q, {o}p)",
    "fold": ("{o}p, {o}q = Split<axis = 2, num_outputs = 2>({a})|{o}r = Add({o}p, {o}q)|"
                "{o} = Concat<axis = 2>({o}r, {o}r)"),
    "beside": "{o}c = Concat<axis = 2>({a}, {b})|{o} = MatMul({o}c, wide)",
    "there and back": ("{o}c = Concat<axis = 2>({a}, {b})|"
                          "{o}p, {o} = Split<axis = 2, num_outputs = 2>({o}c)"),
    "below": "{o}c = Concat<axis = 1>({a}, {b})|{o}p, {o} = Split<axis = 1, num_outputs = 2>({o}c)",
    "mix": "{o}t = Transpose<perm = [0, 2, 1]>({b})|{o}s = MatMul({a}, {o}t)|{o} = MatMul({o}s, {b})",
    "rows mixed": "{o} = MatMul(rowmix, {a})",
    "softmax": "{o} = Softmax<axis = 1>({a})",
    "attention": "{o} = Attention<q_num_heads = 2, kv_num_heads = 2>({a}, {b}, {b})",
    "norm": "{o} = LayerNormalization({a}, norm)",
    "mean": "{o}m = ReduceMean<keepdims = 1>({a}, axis_rows)|{o} = Add({a}, {o}m)",
    "outside": "{o} = Add({a}, other)",
}  # fmt: skip


@st.composite
def programs(draw: st.DrawFn) -> list[str]:
    """Nodes of random steps on two products of the input; all results have its shape."""
    values = ["f", "f2"]
    lines = ["f2 = MatMul(x, w2)"]
    for place in range(draw(st.integers(1, 7))):
        text = STEPS[draw(st.sampled_from(sorted(STEPS)))]
        names = dict(zip("ab", draw(st.lists(st.sampled_from(values), min_size=2, max_size=2)), strict=True))
        lines += text.format(o=f"v{place}", **names).split("|")
        values.append(f"v{place}")
    last = draw(st.lists(st.sampled_from(values), min_size=1, max_size=2))
    lines += [f"r{place} = MatMul({each}, read)" for place, each in enumerate(last)]
    return [*lines, "y = Add(r0, r1)" if len(last) == 2 else "y = Identity(r0)"]


@settings(max_examples=150)
@given(lines=programs(), seed=st.integers(0, 99))
def test_whatever_is_found_in_a_random_graph_can_be_cut(lines: list[str], seed: int) -> None:
    assert_a_cut_is_a_mask(graph(*lines), feeds(seed), seed)
