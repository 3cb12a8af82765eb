"""A model's bytes, piece by piece."""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir
import pytest

from compiler.frontend.export import TracedModel
from compiler.ir.execute import serialize
from compiler.ir.wire import _varint, encoded


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_the_bytes_are_protobufs_own(family: str, traced: Callable[..., TracedModel]) -> None:
    model = traced(family, "text-classification").model
    whole = ir.to_proto(model).SerializeToString(deterministic=True)
    assert serialize(model) == whole
    assert ir.to_proto(model).SerializeToString(deterministic=True) == whole, "the model is not changed"


def test_every_field_stays() -> None:
    import onnx

    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None])
    node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [300], [0.5] * 300)
    graph = onnx.helper.make_graph(
        [node], "g", [value], [value], [weight], doc_string="about", value_info=[value]
    )
    model = onnx.helper.make_model(graph, producer_name="p", doc_string="of it")
    onnx.helper.set_model_props(model, {"key": "word"})
    whole = model.SerializeToString(deterministic=True)
    assert encoded(model) == whole
    graph.ClearField("initializer")
    empty = onnx.helper.make_model(graph)
    whole = empty.SerializeToString(deterministic=True)
    assert encoded(empty) == whole


@pytest.mark.parametrize(
    ("number", "wanted"), [(0, b"\0"), (127, b"\x7f"), (128, b"\x80\x01"), (300, b"\xac\x02")]
)
def test_lengths(number: int, wanted: bytes) -> None:
    assert _varint(number) == wanted
