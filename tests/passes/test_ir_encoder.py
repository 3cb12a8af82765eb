from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compiler.ir.edit import make_node
from compiler.ir.encoder import EncoderGraph
from compiler.prune.materialize import materialize
from targets.errors import UnsupportedError
from tests.support.graphs import FFN, HEADS, HIDDEN, attention_of, encoder, ffn_of


def test_layers_and_their_parts() -> None:
    model = encoder(layers=3)
    found = EncoderGraph.find(model).require()
    assert [layer.index for layer in found.layers] == [0, 1, 2]
    for one, following in zip(found.layers, found.layers[1:], strict=False):
        assert following.input is one.output
    layer = found.layers[1]
    assert (layer.heads, layer.head_size, layer.intermediate) == (HEADS, HIDDEN // HEADS, FFN)
    assert [node.name for node in (attention_of(model, 1).norm, ffn_of(model, 1).norm)] == [
        "norm_o1",
        "norm_f1",
    ]
    assert [node.name for node in found.tables] == ["embed"]
    assert found.declined == ()


def test_roles() -> None:
    roles = EncoderGraph.find(encoder(layers=2)).roles()
    parts = {
        "q": "query",
        "k": "key",
        "v": "value",
        "o": "attention_output",
        "up": "ffn_up",
        "down": "ffn_down",
    }
    assert roles == {f"{name}{i}": f"layer{i}.{role}" for name, role in parts.items() for i in (0, 1)}


@pytest.mark.parametrize(
    "activation",
    [
        "Relu",
        'Gelu<approximate = "tanh">',
        "Sigmoid",
        "Elu",
        "Softplus",
        "HardSwish",
        "Tanh",
    ],
)
def test_activations(activation: str) -> None:
    assert EncoderGraph.find(encoder(activation=activation)).require().layers[0].intermediate == FFN


def test_an_activation_written_out() -> None:
    model = encoder(activation="Tanh")
    tanh = next(node for node in model.graph if node.op_type == "Tanh")
    x, out = tanh.inputs[0], tanh.outputs[0]
    assert x is not None
    made = out
    for index in range(9):
        node = ir.node(
            "Mul" if index % 2 else "Add", [made, x], outputs=[ir.Value(name=f"t{index}")], name=f"t{index}"
        )
        node.outputs[0].type, node.outputs[0].shape = out.type, out.shape
        model.graph.insert_after(made.producer() or tanh, [node])
        made = node.outputs[0]
    for use in list(out.uses()):
        if use.node.op_type == "MatMul":
            use.node.replace_input_with(use.idx, made)
    found = EncoderGraph.find(model)
    assert (found.declined, len(found.layers)) == ((), 1)


def break_residual(model: ir.Model) -> None:
    nodes = {node.name: node for node in model.graph}
    nodes["add_f0"].replace_input_with(1, nodes["norm"].outputs[0])


def break_norm(model: ir.Model) -> None:
    nodes = {node.name: node for node in model.graph}
    nodes["norm_o0"].op_type = "Tanh"


def break_ffn(model: ir.Model) -> None:
    nodes = {node.name: node for node in model.graph}
    nodes["act0"].op_type = "Softmax"


def read_attention_twice(model: ir.Model) -> None:
    nodes = {node.name: node for node in model.graph}
    nodes["add_o0"].replace_input_with(1, nodes["attention0"].outputs[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (break_residual, "the feed-forward network's residual is not the attention's LayerNorm"),
        (break_norm, "no residual addition and LayerNorm follow a projection"),
        (break_ffn, "no feed-forward network follows the attention"),
        (read_attention_twice, "the attention's result is not read by one linear layer alone"),
    ],
)
def test_what_is_not_understood_is_declined_with_the_reason(change: object, reason: str) -> None:
    model = encoder()
    change(model)  # type: ignore[operator]
    found = EncoderGraph.find(model)
    assert found.layers == ()
    assert any(reason in each for each in found.declined)
    with pytest.raises(UnsupportedError, match="the model is not understood"):
        found.require()


@pytest.mark.parametrize(
    ("change", "reason"),
    [(break_residual, "pre-norm"), (break_ffn, "no feed-forward network"), (break_norm, "no residual")],
)
def test_other_layers_are_found_beside_one_that_is_not_understood(change: object, reason: str) -> None:
    model = encoder(layers=3)
    change(model)  # type: ignore[operator]
    found = EncoderGraph.find(model)
    assert [(each.heads, each.intermediate) for each in found.layers] == [(HEADS, FFN)] * 2
    with pytest.raises(UnsupportedError, match=reason):
        found.require()


def cut(model: ir.Model, *names: str) -> ir.Model:
    return materialize(model, {name: np.array([], np.intp) for name in names})


@pytest.mark.parametrize(("module", "lacks"), [("heads", "attention"), ("ffn", "feed-forward network")])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_pruned_layers_are_found_but_do_not_pass_for_whole_ones(layer: int, module: str, lacks: str) -> None:
    model = cut(encoder(layers=3), f"layer{layer}.{module}")
    found = EncoderGraph.find(model)
    assert found.declined == ()
    pruned = found.layers[layer]
    assert [each.index for each in found.layers] == [0, 1, 2]
    assert (pruned.attention is None, pruned.ffn is None) == (module == "heads", module == "ffn")
    assert (pruned.heads, pruned.head_size, pruned.intermediate) == (
        (0, 0, FFN) if module == "heads" else (HEADS, HIDDEN // HEADS, 0)
    )
    with pytest.raises(UnsupportedError, match=f"layer{layer} has no {lacks}"):
        found.require()


def test_a_layer_of_which_nothing_is_left_keeps_its_number() -> None:
    model = cut(encoder(layers=4), "layer0.heads", "layer0.ffn", "layer2.heads", "layer2.ffn", "layer3.heads")
    found = EncoderGraph.find(model)
    assert [(each.index, each.heads, each.intermediate) for each in found.layers] == [
        (1, HEADS, FFN),
        (3, 0, FFN),
    ]
    assert {each.split(".")[0] for each in found.roles().values()} == {"layer1", "layer3"}


def add_to(model: ir.Model, *nodes: ir.Node) -> None:
    for node in nodes:
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        model.graph.append(node)


@pytest.mark.parametrize("cuts", [(), ("layer1.heads", "layer1.ffn"), ("layer0.heads", "layer1.ffn")])
def test_a_head_is_no_feed_forward_network(cuts: tuple[str, ...]) -> None:
    """A head of two products with an activation and a residual addition, normalized before, not after."""
    model = cut(encoder(layers=2, head="tokens"), *cuts)
    before = EncoderGraph.find(model)
    values = {each.name: each for each in model.graph.initializers.values()}
    last = next(node for node in model.graph if node.name == "norm_f1").outputs[0]
    up, down = values.get("wup0"), values.get("wdown0")
    assert up is not None
    assert down is not None
    norm = make_node("LayerNormalization", [last, values["gamma"], values["beta"]], name="head_norm")
    product = make_node("MatMul", [norm.outputs[0], up], name="head_up")
    gelu = make_node("Gelu", product.outputs, name="head_gelu")
    out = make_node("MatMul", [gelu.outputs[0], down], name="head_down")
    total = make_node("Add", [out.outputs[0], norm.outputs[0]], name="head_total")
    add_to(model, norm, product, gelu, out, total)
    model.graph.outputs.append(total.outputs[0])
    found = EncoderGraph.find(model)
    assert found.declined == ()
    assert found.roles() == before.roles()


def test_no_encoder_at_all() -> None:
    model = encoder()
    for node in model.graph:
        if node.op_type == "Attention":
            node.op_type = "Sum"
    with pytest.raises(UnsupportedError, match="no transformer encoder layer"):
        EncoderGraph.find(model).require()
