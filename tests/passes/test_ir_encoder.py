from __future__ import annotations

import onnx_ir as ir
import pytest

from compiler.ir.encoder import EncoderGraph
from targets.errors import UnsupportedError
from tests.support.graphs import FFN, HEADS, HIDDEN, encoder


def test_layers_and_their_parts() -> None:
    model = encoder(layers=3)
    found = EncoderGraph.find(model).require()
    assert [layer.index for layer in found.layers] == [0, 1, 2]
    for one, following in zip(found.layers, found.layers[1:], strict=False):
        assert following.input is one.output
    layer = found.layers[1]
    assert (layer.heads, layer.head_size, layer.intermediate) == (HEADS, HIDDEN // HEADS, FFN)
    assert [node.name for node in (layer.attention_norm, layer.ffn_norm)] == ["norm_o1", "norm_f1"]
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


def test_no_encoder_at_all() -> None:
    model = encoder()
    for node in model.graph:
        if node.op_type == "Attention":
            node.op_type = "Sum"
    with pytest.raises(UnsupportedError, match="no transformer encoder layer"):
        EncoderGraph.find(model).require()
